"""What a run has done so far: the one file that everything else in a run folder follows from."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError

__all__ = ["History", "Snapshot"]

_FORMAT = 1
Arrays = dict[str, NDArray[Any]]


@dataclass
class History:
    """One row per finished iteration.

    Attributes:
        costs: The cost before each update; with several worlds a list of one cost per world.
        grad_norms: The length of the gradient that the update used.
        seconds: Wall time of training up to then [s], compiling and stops left out.
    """

    costs: list[Any] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.grad_norms)

    def append(self, cost: Any, grad_norm: float, seconds: float) -> None:
        """Add a row."""
        self.costs.append(np.asarray(cost, dtype=np.float64))
        self.grad_norms.append(float(grad_norm))
        self.seconds.append(float(seconds))

    def objective(self) -> NDArray[np.float64]:
        """Return what was minimised: the cost, summed over worlds, shape (iterations,)."""
        table = np.asarray(self.costs, dtype=np.float64)
        return table if table.ndim == 1 else table.sum(axis=1)

    def best(self) -> tuple[int, float] | None:
        """Return the iteration of the lowest cost and that cost, or None before the first iteration."""
        if not len(self):
            return None
        costs = self.objective()
        k = int(costs.argmin())
        return k, float(costs[k])

    def to_csv(self) -> bytes:
        """Write the rows as text; numbers keep all their digits."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["iteration", "cost", "gradient_norm", "seconds"])
        costs = self.objective().tolist()
        for k, (cost, norm, seconds) in enumerate(zip(costs, self.grad_norms, self.seconds, strict=True)):
            rows.writerow([k, repr(cost), repr(norm), f"{seconds:.6f}"])
        return text.getvalue().encode()


@dataclass
class Snapshot:
    """A run between two iterations.

    Random numbers need no state of their own: whatever draws them in iteration k starts from (seed, k).

    Attributes:
        digest: `Settings.digest` of the run it belongs to.
        first: Parameters before the first iteration, by key.
        last: Parameters now.
        best: Parameters of the lowest cost so far; each world's own where all of them are.
        optimizer: What `OptimizerRun.state` returned.
        history: The iterations done.
        timings: Seconds by name: `compile`, `run`.
        mode: The mode that it runs in, which `auto` may have found by measuring; empty where it is not known.
        chunk: Steps of one launch of mode `chunk`.
    """

    digest: str
    first: Arrays
    last: Arrays
    best: Arrays
    optimizer: Arrays
    history: History
    timings: dict[str, float]
    mode: str = ""
    chunk: int = 0

    @property
    def iteration(self) -> int:
        """Count the iterations done."""
        return len(self.history)

    def lowest(self) -> tuple[int, float] | None:
        """Return the iteration and the cost of the best parameters, or None before the first iteration.

        Where each world has best parameters of its own (see `OptimizerRun.best_cost`), the cost is the sum of
        theirs, and the iteration the last one that made one of them better.
        """
        best = self.optimizer.get("best_iteration")
        if best is None or best.ndim == 0 or not len(self.history):
            return self.history.best()
        return int(best.max()), float(self.optimizer["best_cost"].sum())

    def to_bytes(self) -> bytes:
        """Write as an uncompressed npz archive, whose parts carry checksums."""
        arrays: Arrays = {
            "format": np.array(_FORMAT),
            "digest": np.array(self.digest),
            "iteration": np.array(self.iteration),
            "mode": np.array(self.mode),
            "chunk": np.array(self.chunk),
            "history.cost": np.asarray(self.history.costs, dtype=np.float64),
            "history.grad_norm": np.asarray(self.history.grad_norms, dtype=np.float64),
            "history.seconds": np.asarray(self.history.seconds, dtype=np.float64),
        }
        for group in ("first", "last", "best", "optimizer"):
            arrays |= {f"{group}.{key}": array for key, array in getattr(self, group).items()}
        arrays |= {f"timings.{key}": np.array(value) for key, value in self.timings.items()}
        return _npz(arrays)

    @classmethod
    def read(cls, folder: Path) -> Snapshot | None:
        """Read how far the run in a folder is; None if it did not come to its first save.

        Raises:
            ConfigError: `state.npz` is damaged, or can't be read.
        """
        file = folder / "state.npz"
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(
                f"{file} must be readable, got: {error.strerror}; correct the permissions"
            ) from None
        return cls.from_bytes(content, str(file))

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Snapshot:
        """Read what `to_bytes` wrote.

        Args:
            content: The file's content.
            where: The file's name, for messages.

        Raises:
            ConfigError: The content is damaged or incomplete.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            if int(arrays["format"]) != _FORMAT:
                raise ConfigError(
                    f"{where}: format must be {_FORMAT}, got {arrays['format']}; "
                    "use the version of diffsim that wrote it"
                )
            history = History(
                list(arrays["history.cost"]),
                arrays["history.grad_norm"].tolist(),
                arrays["history.seconds"].tolist(),
            )
            if not len(history.costs) == len(history) == len(history.seconds) == int(arrays["iteration"]):
                raise KeyError("history")
            timings = {key: float(value) for key, value in _group(arrays, "timings").items()}
            first, last, best, optimizer = (
                _group(arrays, name) for name in ("first", "last", "best", "optimizer")
            )
            mode, chunk = str(arrays.get("mode", "")), int(arrays.get("chunk", 0))  # older runs do not say
            digest = str(arrays["digest"])
            return cls(digest, first, last, best, optimizer, history, timings, mode, chunk)
        except ConfigError:
            raise
        except (
            zipfile.BadZipFile,
            OSError,
            EOFError,
            KeyError,
            ValueError,
            TypeError,
            NotImplementedError,
        ) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(
                f"{where} must be a whole state of a run, got a damaged file ({reason}); "
                "restore it or start a new run"
            ) from None

    def params_to_bytes(self) -> bytes:
        """Write `params.npz`: the best and the last parameters, keys `best/...` and `last/...`."""
        groups = {"best": self.best, "last": self.last}
        return _npz(
            {f"{name}/{key}": array for name, group in groups.items() for key, array in group.items()}
        )


def _group(arrays: Mapping[str, NDArray[Any]], name: str) -> Arrays:
    """Return the arrays whose keys start with the name and a dot."""
    return {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _npz(arrays: Arrays) -> bytes:
    """Pack arrays into an npz archive in memory."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
