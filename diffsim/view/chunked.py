"""Files of large arrays, HDF5 and Zarr: cut over time, compressed, written as frames come, read in parts.

Both hold the groups `signals`, `times` and `stills` with an array for each name, whose attributes tell units,
and an array of bytes, `diffsim.json`, with all that is no array.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError, StateError
from diffsim.extras import require
from diffsim.files import replacing, replacing_folder
from diffsim.view.stored import Stored, frames_at_once
from diffsim.view.timed import Label

__all__ = ["ENDINGS", "Contents", "Writer", "check_target", "reading", "require_library", "writing"]

ENDINGS = (".h5", ".hdf5", ".zarr")
_ABOUT = "diffsim.json"
_PIECE = 1 << 19  # bytes of one piece of a file, before compression
_SMALLEST = 1 << 16  # bytes of a piece of some worlds


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds.

    Attributes:
        signals: Labels with arrays, which may not be read yet, by name.
        stills: Arrays without time.
        scene: As `to_plain` wrote it.
        title: What it is of.
    """

    signals: Mapping[str, tuple[Label, Any]]
    stills: Mapping[str, NDArray[Any]]
    scene: Any
    title: str


def require_library(path: Path) -> ModuleType:
    """Import what writes and reads a file, by its ending.

    Raises:
        MissingExtraError: It is not installed.
    """
    if path.suffix.lower() == ".zarr":
        return require("zarr", "zarr", f"files that end in {path.suffix}")
    return require("h5py", "hdf5", f"files that end in {path.suffix}")


def check_target(path: Path) -> None:
    """Refuse to write over a folder of somebody else's.

    Raises:
        ConfigError: It is one.
    """
    if not path.is_dir():
        return
    ours = path.suffix.lower() == ".zarr" and any((path / m).exists() for m in (".zgroup", "zarr.json"))
    if not ours and any(path.iterdir()):
        raise ConfigError(
            f"{path} must be free or hold a trajectory, got a folder with other files; choose another path"
        )


# ---- writing ----


@contextmanager
def writing(path: Path, title: str) -> Iterator[Writer]:
    """Make a file that frames are added to; it takes its place when the block ends well, or leaves nothing.

    Raises:
        MissingExtraError: What writes such files is not installed.
        OSError: The file can't be written.
    """
    library = require_library(path)
    check_target(path)
    with (replacing_folder if path.suffix.lower() == ".zarr" else replacing)(path) as temporary:
        with _opened(library, temporary, "w") as root:
            writer = Writer(root, title)
            yield writer
            writer.end()
        if path.is_dir() and path.suffix.lower() != ".zarr":
            shutil.rmtree(path)  # empty: an ordinary file cannot take its place


class Writer:
    """A file that arrays are written to, some frames at a time.

    Args:
        root: The open file.
        title: What it is of.

    Attributes:
        scene: As `to_plain` writes it; may be set before the end.
    """

    def __init__(self, root: Any, title: str) -> None:
        self._root, self._title = root, title
        root.attrs["title"] = title
        self._groups = {name: root.create_group(name) for name in ("signals", "times", "stills")}
        self._rows: dict[str, _Rows] = {}
        self._labels: dict[str, Label] = {}
        self.scene: Mapping[str, Any] | None = None

    def begin(self, label: Label, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make room for an array of that shape, time first."""
        entry = _entry(label.name)
        _whole(self._groups["times"], entry, label.times).attrs["unit"] = label.time_unit
        piece = piece_shape(shape, dtype, label.worlds)
        array = _array(self._groups["signals"], entry, shape, dtype, piece)
        array.attrs["unit"] = label.unit
        self._rows[label.name] = _Rows(array, shape, dtype, piece[0])
        self._labels[label.name] = label

    def put(self, name: str, block: NDArray[Any]) -> None:
        """Add the next frames of an array."""
        self._rows[name].add(np.asarray(block))

    def read(self, name: str, first: int, stop: int) -> NDArray[Any]:
        """Return frames that were added."""
        return self._rows[name].read(first, stop)

    def still(self, name: str, array: NDArray[Any]) -> None:
        """Write an array without time."""
        _whole(self._groups["stills"], _entry(name), np.asarray(array))

    def end(self) -> None:
        """Write what is left.

        Raises:
            StateError: An array got fewer frames than it was to have.
        """
        for name, row in self._rows.items():
            row.end(name)
        signals = {name: label.to_plain() for name, label in self._labels.items()}
        about = {"title": self._title, "signals": signals, "scene": self.scene, "key": uuid.uuid4().hex}
        _whole(self._root, _ABOUT, np.frombuffer(json.dumps(about).encode(), dtype=np.uint8))


class _Rows:
    """Frames on their way to a file: whole pieces of it are written, so that none is compressed twice."""

    def __init__(self, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any], count: int) -> None:
        self._array, self._frames = array, shape[0]
        self._waiting = np.empty((min(count, max(1, shape[0])), *shape[1:]), dtype)
        self._held = self._written = 0

    def add(self, block: NDArray[Any]) -> None:
        while len(block):
            room = len(self._waiting) - self._held
            taken, block = block[:room], block[room:]
            self._waiting[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            if self._held == len(self._waiting):
                self._write()

    def _write(self) -> None:
        if self._held:
            self._array[self._written : self._written + self._held] = self._waiting[: self._held]
        self._written, self._held = self._written + self._held, 0

    def read(self, first: int, stop: int) -> NDArray[Any]:
        self._write()
        return np.asarray(self._array[first : min(stop, self._written)])

    def end(self, name: str) -> None:
        self._write()
        if self._written != self._frames:
            raise StateError(f"{name} must get {self._frames} frames, got {self._written}; record it anew")


def piece_shape(shape: tuple[int, ...], dtype: np.dtype[Any], worlds: int) -> tuple[int, ...]:
    """Choose what is compressed together: some frames, of many worlds some worlds."""
    count = min(frames_at_once(shape, dtype, _PIECE), max(1, shape[0]))
    if not worlds:
        return (count, *shape[1:])
    one = count * frame_bytes((1, *shape[2:]), dtype)
    return (count, min(worlds, -(-_SMALLEST // max(1, one))), *shape[2:])


def frame_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of one frame of an array."""
    return int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize


# ---- reading ----


def reading(path: Path) -> Contents:
    """Open a file; the arrays over time are not read yet.

    Raises:
        MissingExtraError: What reads such files is not installed.
        KeyError, ValueError, OSError: It holds something else.
    """
    with _opened(require_library(path), path, "r") as root:
        about = _about(root)
        signals = {}
        for name, told in about["signals"].items():
            array = root["signals"][_entry(name)]
            label = Label.from_plain(name, root["times"][_entry(name)][...], told)
            place = _Place(path.absolute(), name, about["key"], tuple(array.shape), np.dtype(array.dtype))
            signals[name] = label, Stored(label, place, range(place.shape[0]))
        stills = {unquote(entry): np.asarray(root["stills"][entry][...]) for entry in root["stills"]}
    return Contents(signals, stills, about["scene"], str(about["title"]))


@dataclass(frozen=True)
class _Place:
    """An array of a file, which is open only while it is read."""

    path: Path
    name: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, index: tuple[Any, ...]) -> NDArray[Any]:
        try:
            with _opened(require_library(self.path), self.path, "r") as root:
                if _about(root)["key"] == self.key:
                    return np.asarray(root["signals"][_entry(self.name)][index])
        except (KeyError, ValueError, OSError) as error:
            raise StateError(
                f"{self.path} must be as it was when it was loaded, got {type(error).__name__} ({error}); "
                "load it again"
            ) from None
        raise StateError(f"{self.path} must be as it was when it was loaded, got another; load it again")


def _about(root: Any) -> dict[str, Any]:
    return dict(json.loads(np.asarray(root[_ABOUT][...]).tobytes()))


# ---- the libraries ----


@contextmanager
def _opened(library: ModuleType, path: Path, mode: str) -> Iterator[Any]:
    """Open the group at the root of a file."""
    if library.__name__ == "h5py":
        with library.File(path, mode) as file:
            yield file
        return
    # format 2 is what both Zarr 2 and 3 read
    how = {"zarr_format": 2} if mode == "w" and not _is_old(library) else {}
    yield library.open_group(str(path), mode=mode, **how)


def _is_old(zarr: ModuleType) -> bool:
    return int(zarr.__version__.split(".")[0]) < 3


def _array(
    group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], piece: tuple[int, ...]
) -> Any:
    """Make an array in a group."""
    given = {"shape": shape, "dtype": dtype}
    if type(group).__module__.startswith("h5py"):
        if 0 in shape:
            return group.create_dataset(name, **given)
        packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        return group.create_dataset(name, **given, chunks=piece, **packed)
    packed_by = require("numcodecs", "zarr", "files that end in .zarr").Blosc("lz4", 5, 1)
    given["chunks"] = tuple(max(1, n) for n in piece)
    if hasattr(group, "create_array"):
        return group.create_array(name, **given, compressors=packed_by)
    return group.create_dataset(name, **given, compressor=packed_by)


def _whole(group: Any, name: str, values: NDArray[Any]) -> Any:
    """Write a small array."""
    if type(group).__module__.startswith("h5py"):
        return group.create_dataset(name, data=values)
    array = _array(group, name, values.shape, values.dtype, values.shape)
    if values.size:
        array[...] = values
    return array


def _entry(name: str) -> str:
    """Return what an array is called in a file: any text, without what separates names or begins a path."""
    safe = re.sub(r'[\x00-\x1f%/\\:*?"<>|]', lambda found: quote(found[0], safe=""), name)
    return safe if safe.strip(".") and not safe.startswith("__") else f"%{ord(safe[0]):02X}{safe[1:]}"
