"""Measure films: how far a GIF's colours are from those drawn, and how long films take to be made.

Colours: the films of tasks, trained a little, as GIFs with one palette each (255 colours, the 96 commonest of
them exact, as it was once done) and as they are written now, where frames may have palettes of their own.
Speed: particles that move in the plane, as GIF, MP4 and WebM. `python -m benchmarks pictures`
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.children import stream
from benchmarks.common import machine, print_machine, print_table, write_json

TASKS = ("wave", "smoke", "electric", "volume_renderer", "lattice_boltzmann", "mass_spring")
KINDS = ("gif", "mp4", "webm")
_EXACT, _COLORS = 96, 255


def draw_task(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train a task for some iterations and write the film of what it has learned in both ways."""
    from diffsim.cli.survey import train_task
    from diffsim.options import options_of
    from diffsim.tasks.runs import RunOptions
    from diffsim.view import film, gif, planar

    kept: list[tuple[list[NDArray[np.uint8]], float, Any]] = []

    def keep(path: Any, frames: Any, fps: float, palette: Any = None, **more: Any) -> None:
        kept.append(([np.array(frame)[..., :3] for frame in frames], fps, more.get("keep", palette)))
        Path(path).write_bytes(b"")

    words = {info.name: None for info in options_of(RunOptions)} | {"smoke": options["smoke"], "guard": False}
    if not options["smoke"]:
        words["iterations"] = options["iterations"]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(film, "write_film", keep):
        with mock.patch.object(planar, "write_film", keep):
            train_task(options["task"], words | {"out": os.path.join(folder, "run")})
        frames, fps, palette = kept[-1]
        found = {}
        choose = gif._Colors
        for way, colors in (("one palette", functools.partial(_one_palette, choose)), ("now", choose)):
            path = Path(folder, "film.gif")
            with mock.patch.object(gif, "_Colors", colors):
                began = time.perf_counter()
                gif.write_gif(path, frames, fps, palette)
                seconds = time.perf_counter() - began
            off = _errors(path, frames)
            sizes = {"bytes": path.stat().st_size, "seconds": seconds}
            found[way] = {"mean": float(off.mean()), "max": float(off.max()), **sizes}
    yield {"frames": len(frames), **found}


def _one_palette(choose: Any, spool: Any, keep: Any) -> Any:
    """Choose one palette: the commonest colours, and of the others as many as cover most."""
    from PIL import Image

    from diffsim.view.palette import Palette
    from diffsim.view.spool import unpacked

    colors = choose(spool, keep)
    seen, counts = colors._seen, colors._counts(spool)
    order = np.argsort(-counts, kind="stable")
    palette = np.concatenate([keep, unpacked(seen[order[:_EXACT]])])
    others = unpacked(seen[order[_EXACT:]])
    if len(others):
        room = _COLORS - len(palette)
        blend = Image.fromarray(others[None]).quantize(colors=room, method=Image.Quantize.MAXCOVERAGE)
        mixed = np.array(blend.getpalette(), dtype=np.uint8).reshape(-1, 3)[:room]
        palette = np.concatenate([palette, mixed])
    colors.common = Palette.near(unpacked(seen), palette)
    colors._exact = True  # no frame gets its own
    return colors


def _errors(path: Path, frames: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return of each frame the root of the mean squared distance of the colours shown from those drawn."""
    from PIL import Image

    off, shown, left = [], None, 0
    with Image.open(path) as image:
        unit, number = None, 0
        for frame in frames:
            if left <= 0 and number < image.n_frames:
                image.seek(number)
                shown, number = np.asarray(image.convert("RGB")).astype(np.float64), number + 1
                unit = unit or image.info["duration"]
                left = round(image.info["duration"] / unit)
            left -= 1
            off.append(np.sqrt(((shown - frame) ** 2).sum(axis=-1).mean()))
    return np.array(off)


def particles(count: int, frames: int) -> Any:
    """Return a film of particles that circle, coloured by their speed."""
    from diffsim.view import Film, Shades, brushwork, color_bar, time_labels

    rng = np.random.default_rng(0)
    times = np.arange(frames) / 30.0
    middle, phase = rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.0, 6.28, count)
    radius, rate = rng.uniform(0.02, 0.2, count), rng.uniform(0.5, 3.0, count)
    angle = rate * times[:, None] + phase
    places = middle + radius[:, None] * np.stack([np.cos(angle), np.sin(2.0 * angle)], axis=-1)
    speed = (
        np.linalg.norm(np.gradient(places, times, axis=0), axis=-1) if frames > 1 else np.zeros((1, count))
    )
    top = float(speed.max()) or 1.0

    def draw(axes: Any, k: int) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal", xlabel="x [m]", ylabel="y [m]")
        shades = Shades.of(speed[k], "viridis", 0.0, top)
        brushwork(axes, lambda brush: brush.dots(places[k], 5.0, shades))
        color_bar(axes, ScalarMappable(Normalize(0.0, top), "viridis"), "speed [m/s]")

    return Film(draw, time_labels(times), fps=30.0, bar=True)


def make_films(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Film particles, as often as asked, and yield the seconds and the bytes of a file."""
    from diffsim.view import film_file

    film = particles(options["particles"], options["frames"])
    with tempfile.TemporaryDirectory() as folder:
        film_file(Path(folder, "warm.gif"), particles(3, 2))
        for kind in options["kinds"]:
            path, seconds = Path(folder, f"film.{kind}"), []
            for _ in range(options["repeat"]):
                began = time.perf_counter()
                film_file(path, film, "particles")
                seconds.append(time.perf_counter() - began)
            yield {"kind": kind, "seconds": seconds, "bytes": path.stat().st_size}


def _measured(work: Callable[[dict[str, Any]], Iterator[dict[str, Any]]], options: dict[str, Any]) -> Any:
    """Run in a process of its own."""
    return list(stream(work, options))


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; timing fails nothing."""
    parser = argparse.ArgumentParser("python -m benchmarks pictures", description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), help="whose films are looked at")
    parser.add_argument("--iterations", type=int, default=5, help="that a task is trained for (5)")
    parser.add_argument("--smoke", action="store_true", help="tasks in their smallest size")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--particles", type=int, default=1000, help="(1000)")
    parser.add_argument("--frames", type=int, default=240, help="(240)")
    parser.add_argument("--repeat", type=int, default=3, help="films of particles of each kind (3)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    if min(options.iterations, options.particles, options.frames - 1, options.repeat) < 1:
        parser.error("--iterations, --particles and --repeat must be at least 1, --frames 2")
    found = machine()
    print_machine(found)
    given = vars(options)
    colors = {task: _measured(draw_task, given | {"task": task})[0] for task in options.tasks}
    rows = []
    for task, ways in colors.items():
        for way, row in ways.items():
            if way != "frames":
                seconds = f"{row['seconds']:.2f} s" if way == "now" else ""  # the other one is chosen on top
                sizes = [f"{row['bytes'] / 1e6:.2f} MB", seconds]
                rows.append([task, way, *(f"{row[key]:.2f}" for key in ("mean", "max")), *sizes])
    print("\ncolours of GIFs: root of the mean squared distance from those drawn, in 255ths")
    print_table(["task", "", "mean of frames", "worst frame", "size", "written in"], rows)
    films = _measured(make_films, given) if options.kinds else []
    if films:
        print(f"\n{options.frames} frames of {options.particles} particles")
        head = ["", "seconds", "(range)", "size"]
        print_table(
            head,
            [
                [row["kind"], f"{np.median(row['seconds']):.1f}",
                 f"{min(row['seconds']):.1f} .. {max(row['seconds']):.1f}", f"{row['bytes'] / 1e6:.2f} MB"]
                for row in films
            ],
        )  # fmt: skip
    write_json(options.json, {"machine": found, "options": given, "colors": colors, "films": films})
    return 0


if __name__ == "__main__":
    sys.exit(main())
