"""Make the pictures of the gallery: train each task as `diffsim train NAME` does, keep its pictures small.

Run: python docs/make_gallery.py [--runs FOLDER] [NAME ...]; with --runs, folders NAME of earlier runs are
used where they are there.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile

from diffsim.cli.survey import survey, train_task
from diffsim.files import replacing
from diffsim.options import options_of
from diffsim.tasks.registry import task_names
from diffsim.tasks.runs import RunOptions

HERE = pathlib.Path(__file__).parent / "gallery"
_WIDTH = 1100  # [pixels] of a still
_FILM_WIDTH, _FRAMES, _QUALITY = 360, 60, 45  # of a film


def main() -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tasks (all)")
    parser.add_argument("--runs", type=pathlib.Path, help="folder of runs made earlier")
    options = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    names = options.names or task_names()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.runs or pathlib.Path(scratch)
        unset = {info.name: None for info in options_of(RunOptions)} | {"smoke": False}
        missing = [name for name in names if not (folder / name / "compare.png").exists()]
        requests = [(name, unset | {"out": str(folder / name)}) for name in missing]
        for row in survey(train_task, requests, jobs=2):
            print(row.name, row.notes, flush=True)
        for name in names:
            shrink(folder / name / "compare.png", HERE / f"{name}.png")
            film(folder / name / "after.gif", HERE / f"{name}.webp")


def shrink(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a picture in the width of a page, with a palette of its own."""
    from PIL import Image

    if not source.exists():
        return
    with Image.open(source) as image:
        height = round(image.height * min(1.0, _WIDTH / image.width))
        small = image.convert("RGB").resize((min(image.width, _WIDTH), height), Image.Resampling.LANCZOS)
    with replacing(target) as temporary:
        small.quantize(256).save(temporary, format="PNG", optimize=True)


def film(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy a film in a small size; what is left out lets the frame before it stay."""
    from PIL import Image

    if not source.exists():
        return
    frames: list[Image.Image] = []
    stays: list[int] = []  # [ms]
    with Image.open(source) as image:
        count = getattr(image, "n_frames", 1)
        size = (_FILM_WIDTH, round(image.height * _FILM_WIDTH / image.width))
        for k in range(count):
            image.seek(k)
            if k % max(1, round(count / _FRAMES)) == 0 or k == count - 1:
                frames.append(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
                stays.append(0)
            stays[-1] += image.info.get("duration", 50)
    with replacing(target) as temporary:
        first, *others = frames
        first.save(
            temporary, save_all=True, append_images=others, duration=stays, loop=0, quality=_QUALITY, method=6
        )


if __name__ == "__main__":
    main()
