"""Folders of numbered files that take the place of an older one when they are complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffsim.errors import ConfigError
from diffsim.files import replacing, replacing_folder

__all__ = ["folder_of", "numbered", "series"]

_LIST = "frames.csv"


def folder_of(path: Path) -> Path:
    """Return the folder of a series: `cloth.ply` has `cloth_ply/`."""
    return path.with_name(f"{path.stem}_{path.suffix[1:].lower()}")


def numbered(stem: str, number: int, count: int, suffix: str) -> str:
    """Return the name of one of so many files; names sort as numbers do."""
    return f"{stem}_{number:0{max(4, len(str(count - 1)))}d}{suffix}"


@contextmanager
def series(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Give a folder to write files into that takes its place when the block ends well.

    Args:
        folder: Where they go.
        suffixes: What a series consists of; a folder with anything else in it is somebody's and stays.

    Raises:
        ConfigError: There is a folder or file that is no such series.
        OSError: It can't be written.
    """
    if folder.exists():
        ours = re.compile(rf".*_\d{{4,}}(?:{'|'.join(map(re.escape, suffixes))})|{re.escape(_LIST)}")
        others = (
            [p.name for p in folder.iterdir() if not ours.fullmatch(p.name)] if folder.is_dir() else ["it"]
        )
        if others:
            raise ConfigError(
                f"{folder} must be free or hold an earlier series, got one with {others[0]}; "
                "choose another name"
            )
    with replacing_folder(folder) as temporary:
        yield temporary


def list_frames(folder: Path, names: list[str], times: list[float], unit: str) -> None:
    """Write which file is of which time."""
    rows = [f"file,time [{unit}]", *(f"{name},{time:.17g}" for name, time in zip(names, times, strict=True))]
    with replacing(folder / _LIST) as temporary:
        temporary.write_text("\n".join(rows) + "\n", encoding="utf-8")
