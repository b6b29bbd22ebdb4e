"""Trajectories for the programs that people already use: an ending chooses the format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from diffsim.errors import ConfigError
from diffsim.files import require_writable
from diffsim.view.exports import meshes, rerun, tables, usd, vtk
from diffsim.view.exports.frames import Frames

if TYPE_CHECKING:
    from diffsim.view.trajectory import Trajectory

__all__ = ["export"]

_PROGRAMS = {
    ".csv": "spreadsheets",
    ".pvd": "ParaView",
    ".ply": "MeshLab",
    ".obj": "Blender",
    ".usda": "USD as text",
    ".usdc": "USD",
    ".usd": "USD",
    ".rrd": "Rerun",
}
_ELSEWHERE = {
    **dict.fromkeys((".npz", ".h5", ".hdf5", ".zarr"), "save"),
    **dict.fromkeys((".gif", ".mp4", ".webm"), "animate"),
    **dict.fromkeys((".png", ".svg", ".pdf"), "plot"),
}


def export(trajectory: Trajectory, path: str | os.PathLike[str]) -> Path:
    """Write a trajectory for another program, which the ending of the path chooses.

    What is in space follows the trajectory's scene; where it has none, rows of vectors are points and grids
    of numbers are grids. Signals with a number or vector for each point go with the points, in formats that
    hold that; others stand beside. An array that ends early stays as it was.

    Args:
        trajectory: Of one world; a table may hold several.
        path: `x.csv`: a table of all signals. `x.pvd`: ParaView, with the folder `x_pvd` beside. `x.ply`,
            `x.obj`: numbered files in the folder `x_ply` or `x_obj`, of one frame the file itself. `x.usda`,
            `x.usdc`: USD (extra `usd`). `x.rrd`: Rerun (extra `rerun`). What is there of that name is
            replaced when the new one is complete.

    Returns:
        What was written: the file, or the folder of a series.

    Raises:
        ConfigError: The ending is another, the folder can't be written to, the trajectory has no frames,
            several worlds or nothing in space, or a folder of that name holds other files.
        MissingExtraError: What writes such files is not installed.
        OSError: It can't be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in _PROGRAMS:
        known = ", ".join(f"{ending} ({program})" for ending, program in _PROGRAMS.items())
        other = f"; use trajectory.{_ELSEWHERE[kind]} for that" if kind in _ELSEWHERE else "; choose one"
        raise ConfigError(f"path must end in one of {known}, got {target.name!r}{other}")
    require_writable(target)
    if kind == ".csv":
        tables.write(trajectory, target)
        return target
    frames = Frames(trajectory)
    if kind in (".ply", ".obj"):
        return (meshes.write_ply if kind == ".ply" else meshes.write_obj)(frames, target)
    {".pvd": vtk.write, ".rrd": rerun.write}.get(kind, usd.write)(frames, target)
    return target
