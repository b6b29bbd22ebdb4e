"""A trajectory as one file, written whole or not at all; the ending says how."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing, why_not_writable
from diffsim.view import chunked
from diffsim.view.chunked import Contents, Writer
from diffsim.view.stored import Outline, Stored, blocks_of
from diffsim.view.timed import Label

__all__ = ["check_growing", "growing", "load", "save"]

_ABOUT = "diffsim.json"  # an entry beside the arrays
_WHOLE = ".npz"
_ENDINGS = (_WHOLE, *chunked.ENDINGS)


def save(path: str | os.PathLike[str], outline: Outline, arrays: Mapping[str, NDArray[Any] | Stored]) -> None:
    """Write arrays over time; those that are still in a file pass through memory a little at a time.

    Raises:
        ConfigError: The ending of the path is not known, or its folder can't be written to.
        MissingExtraError: What writes such files is not installed.
        OSError: The file can't be written.
    """
    target = Path(path)
    if target.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"path must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, got {target.name!r}; "
            "choose .npz for small ones, .h5 or .zarr for those that are read in parts"
        )
    _require_folder(target, "path")
    if target.suffix.lower() == _WHOLE:
        _save_whole(target, outline, arrays)
        return
    with chunked.writing(target, outline.title) as writer:
        for name, array in arrays.items():
            writer.begin(outline.labels[name], array.shape, array.dtype)
            for block in blocks_of(array):
                writer.put(name, block)
        for name, still in outline.stills.items():
            writer.still(name, still)
        writer.scene = outline.scene


def check_growing(path: str | os.PathLike[str]) -> None:
    """Refuse, before anything is run, a file that cannot grow while a rollout runs.

    Raises:
        ConfigError: Its ending is not one of files that can, or its folder can't be written to.
        MissingExtraError: What writes such files is not installed.
    """
    target = Path(path)
    if target.suffix.lower() not in chunked.ENDINGS:
        why = ", which is written whole; save the trajectory" if target.suffix.lower() == _WHOLE else ""
        raise ConfigError(
            f"to must end in {', '.join(chunked.ENDINGS[:-1])} or {chunked.ENDINGS[-1]}, got {target.name!r}"
            f"{why or '; choose .h5'}"
        )
    chunked.require_library(target)
    _require_folder(target, "to")
    chunked.check_target(target)


def _require_folder(target: Path, name: str) -> None:
    """Refuse a folder that is not there, or can't be written to; what is at the path may be a folder."""
    folder = target.absolute().parent
    reason = why_not_writable(folder) if folder.is_dir() else "there is no such folder"
    if reason:
        raise ConfigError(
            f"{name} must be in a folder that can be written to, got {folder}: {reason}; make it"
        )


def growing(path: str | os.PathLike[str], title: str) -> AbstractContextManager[Writer]:
    """Make a file that frames are added to; it takes its place when the block ends well, or leaves nothing.

    Args:
        path: One that `check_growing` lets pass.
        title: What it is of.
    """
    return chunked.writing(Path(path), title)


def load(path: str | os.PathLike[str]) -> Contents:
    """Read what `save` wrote: `.npz` at once, others when somebody asks for an array.

    Of the folder of a run it is the motion with its best parameters.

    Raises:
        ConfigError: There is no such file, or it holds something else.
        MissingExtraError: What reads such files is not installed.
    """
    source = Path(path)
    if source.suffix.lower() != ".zarr" and source.is_dir():
        source = source / "best.npz"  # of a run
    if not source.exists():
        raise ConfigError(f"trajectory must be a file, got {source}, which is not there; correct the path")
    parts = source.suffix.lower() in chunked.ENDINGS
    if parts:
        chunked.require_library(source)
    try:
        if parts:
            return chunked.reading(source)
        return _load_whole(source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, PermissionError | IsADirectoryError):
            raise
        raise ConfigError(
            f"{source} must hold a trajectory that Trajectory.save wrote, got {type(error).__name__}; record "
            "it anew"
        ) from None


def _save_whole(target: Path, outline: Outline, arrays: Mapping[str, NDArray[Any] | Stored]) -> None:
    text = np.frombuffer(json.dumps(outline.to_plain()).encode(), dtype=np.uint8)
    entries: dict[str, Any] = {_ABOUT: text}
    for name, array in arrays.items():
        entries[f"signal/{name}"] = array.read() if isinstance(array, Stored) else np.asarray(array)
        entries[f"times/{name}"] = outline.labels[name].times
    entries |= {f"still/{name}": array for name, array in outline.stills.items()}
    with replacing(target) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **entries)


def _load_whole(source: Path) -> Contents:
    with np.load(source, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = dict(json.loads(arrays.pop(_ABOUT).tobytes()))
    signals: dict[str, tuple[Label, Any]] = {}
    for name, told in about["signals"].items():
        label = Label.from_plain(name, arrays[f"times/{name}"], told)
        signals[name] = label, arrays[f"signal/{name}"]
    stills = {name.removeprefix("still/"): a for name, a in arrays.items() if name.startswith("still/")}
    return Contents(signals, stills, about["scene"], str(about["title"]))
