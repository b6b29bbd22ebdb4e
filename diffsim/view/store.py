"""Named arrays with a description as one file: NumPy's archives here, larger ones by their own libraries."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.files import replacing

__all__ = ["read", "write"]

_ABOUT = "diffsim.json"  # an entry beside the arrays


def write(path: str | os.PathLike[str], about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name, and what JSON can hold about them.

    Raises:
        ConfigError: The ending of the path is not known.
        OSError: The file can't be written.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise ConfigError(f"path must end in .npz, got {target.name!r}; choose that ending")
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    with replacing(target) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **dict(arrays), **{_ABOUT: text})


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write` wrote; of the folder of a run the motion with its best parameters.

    Raises:
        ConfigError: There is no such file, or it holds something else.
    """
    source = Path(path)
    if source.suffix != ".zarr" and source.is_dir():
        source = source / "best.npz"  # of a run
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return dict(json.loads(arrays.pop(_ABOUT).tobytes())), arrays
    except FileNotFoundError:
        raise ConfigError(f"trajectory must be a file, got {source}, which is not there") from None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ConfigError(
            f"{source} must hold a trajectory that Trajectory.save wrote, got {type(error).__name__}; record "
            "it anew"
        ) from None
