"""Make the pictures of the README: train robot 1 and draw it before and after.

Run: python docs/make_pictures.py.
"""

from __future__ import annotations

import pathlib

import numpy as np

import diffsim as ds
from diffsim.demos.mass_spring import MassSpringTask
from diffsim.kernels.mass_spring import MassSpring, load_robot
from diffsim.view import robot_png

HERE = pathlib.Path(__file__).parent


def main() -> None:
    """Train and draw."""
    robot = load_robot(1)
    ds.init(arch="cpu")
    sim = MassSpring(robot)
    rollout = ds.Rollout(sim, steps=682)
    fields = {"x": sim.x, "actuation": sim.actuation}
    recordings = {"before training": rollout.trajectories(fields, every=8)}
    rule = {key: value for key, value in MassSpringTask.optimizer.items() if key != "name"}
    optimizer = ds.optim.SGD(**rule)
    result = ds.minimize(rollout, wrt=[sim.policy], optimizer=optimizer, iterations=100)
    for key, values in result.best.items():
        rollout.leaves([key])[0].set(values)
    recordings["best of 100 iterations"] = rollout.trajectories(fields, every=8)
    robot_png(
        HERE / "robot.png",
        {name: r["x"] for name, r in recordings.items()},
        robot.springs,
        {name: r["actuation"] for name, r in recordings.items()},
        head=robot.head,
        ground=0.1,
        times=sim.dt * 8 * np.arange(len(recordings["before training"]["x"])),
        title="robot 1 learns to walk",
        active=robot.actuation > 0,
        way=True,
    )


if __name__ == "__main__":
    main()
