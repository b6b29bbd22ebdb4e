"""Make the pictures of the README and the pages: robot.png by training robot 1, others by the code beside.

Run: python docs/make_pictures.py [NAME ...], or `make pictures`. A page is drawn by its own blocks:
the code that a reader sees is the code that drew it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from blocks import run

import diffsim as ds
from diffsim.cli import main as main_of_diffsim
from diffsim.demos.mass_spring import MassSpringTask
from diffsim.kernels.mass_spring import MassSpring, load_robot
from diffsim.view import robot_png

HERE = Path(__file__).parent
# Pictures by name, with the page whose blocks write them.
DRAWN = {
    "pendulum.png": "../README.md",
    "pictures/swarm.gif": "start/own.md",
    "pictures/push.png": "start/own.md",
    "pictures/throw.gif": "learn/seeing-gradients.md",
    "pictures/step.svg": "learn/seeing-programs.md",
    "pictures/kernel.svg": "learn/seeing-programs.md",
    "pictures/time.svg": "learn/seeing-programs.md",
    "pictures/rope.gif": "learn/seeing.md",
    "pictures/drawn.gif": "learn/seeing.md",
    "pictures/rod.gif": "learn/seeing.md",
    "pictures/rod.png": "learn/seeing.md",
}


def main() -> None:
    """Draw what was named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*OTHERS, *DRAWN])} (all)")
    names = parser.parse_args().names or [*OTHERS, *DRAWN]
    for name in names:
        if name in OTHERS:
            OTHERS[name]()
    for page in dict.fromkeys(DRAWN[name] for name in names if name in DRAWN):
        draw_page(HERE / page, [name for name in names if DRAWN.get(name) == page])


def draw_page(page: Path, names: list[str]) -> None:
    """Run the blocks of a page, and keep the pictures that they write."""
    back = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for _ in run(page.resolve(), Path(folder)):
                pass
        finally:
            os.chdir(back)
        for name in names:
            (HERE / name).parent.mkdir(exist_ok=True)
            shutil.copy(Path(folder) / Path(name).name, HERE / name)
            print(f"wrote docs/{name}")


def draw_robot() -> None:
    """Train robot 1, and draw it before and after."""
    robot = load_robot(1)
    ds.init(arch="cpu")
    sim = MassSpring(robot)
    rollout = ds.Rollout(sim, steps=682)
    fields = {"x": sim.x, "actuation": sim.actuation}
    recordings = {"before training": rollout.trajectories(fields, every=8)}
    rule = {key: value for key, value in MassSpringTask.optimizer.items() if key != "name"}
    optimizer = ds.optim.SGD(**rule)
    result = ds.minimize(rollout, wrt=[sim.policy], optimizer=optimizer, iterations=100)
    result.restore()
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
    rollout.close()
    print("wrote docs/robot.png")


def draw_report() -> None:
    """Train robot 1, and photograph its report; needs the extra `test`, chromium and chromedriver."""
    from selenium import webdriver
    from selenium.webdriver.common.keys import Keys

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.5"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "robot1"
        main_of_diffsim(["train", "mass_spring", "--robot", "1", "--out", str(run), "--quiet"])
        with webdriver.Chrome(options=options, service=service) as window:
            window.set_window_size(1000, 900)
            window.get((run / "report.html").as_uri())
            body = window.find_element("tag name", "body")
            for _ in range(4):
                body.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)  # ten frames
            window.save_screenshot(str(HERE / "pictures/report.png"))
    print("wrote docs/pictures/report.png")


# Pictures that no page's code draws.
OTHERS = {"robot.png": draw_robot, "pictures/report.png": draw_report}


if __name__ == "__main__":
    main()
