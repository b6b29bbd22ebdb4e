"""The folder that holds a run: made in one step, used by one process at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from diffsim.errors import ConfigError, StateError
from diffsim.files import LockFile, in_shell
from diffsim.tasks.runs.files import LOCK, is_leftover, sweep, write
from diffsim.tasks.runs.settings import Settings
from diffsim.tasks.runs.state import Snapshot

__all__ = ["PICTURES", "RunFolder", "check_new", "config_text", "free_folder"]

PICTURES = ("before.gif", "after.gif", "cost.png", "report.html")


class RunFolder:
    """An existing run folder, locked against other processes until it is closed.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        settings: What `config.toml` says.

    Raises:
        ConfigError: There is no such folder, it holds no run, its `config.toml` is damaged, or another
            process uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = config_text(path)
        self.settings = Settings.from_toml(text, str(path / "config.toml"))
        self._lock = _lock(path)
        sweep(path)

    @classmethod
    def create(cls, path: Path, settings: Settings) -> RunFolder:
        """Make a new run folder with its `config.toml`, in one step.

        Raises:
            ConfigError: The path holds something already, or can't be written to.
        """
        check_new(path)
        content = settings.to_toml().encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                write(path / "config.toml", content)
            else:
                _appear(path, content)
        except FileExistsError:  # only mkdir says so, of a file where a folder is needed
            raise ConfigError(
                f"--out must be inside a folder, got {path}, inside a file; choose another"
            ) from None
        except (OSError, StateError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            raise ConfigError(
                f"--out must be a folder that can be made, got {path} ({reason}); choose another"
            ) from None
        return cls(path)

    def load(self) -> Snapshot | None:
        """Read how far the run is; None if it did not come to its first save.

        Raises:
            ConfigError: `state.npz` is damaged or was deleted, or belongs to other settings than those of
                `config.toml`.
        """
        snapshot = Snapshot.read(self.path)
        if snapshot is None:
            if (self.path / "history.csv").exists():  # it is only ever written after the state
                file = self.path / "state.npz"
                raise ConfigError(f"{file} must be there, got none; restore it or start a new run")
            return None
        if snapshot.digest != self.settings.digest():
            raise ConfigError(
                f"{self.path / 'config.toml'} must be what the run was started with, got other values "
                "(only iterations, threads and guard may change); undo the change or start a new run"
            )
        return snapshot

    def save(self, snapshot: Snapshot) -> None:
        """Write the state, then the files that follow from it.

        Raises:
            StateError: A file can't be written.
        """
        write(self.path / "state.npz", snapshot.to_bytes())
        self.save_derived(snapshot)

    def save_derived(self, snapshot: Snapshot) -> None:
        """Write `history.csv` and `params.npz` anew from a state.

        Raises:
            StateError: A file can't be written.
        """
        write(self.path / "history.csv", snapshot.history.to_csv())
        write(self.path / "params.npz", snapshot.params_to_bytes())

    def save_manifest(self, manifest: dict[str, Any]) -> None:
        """Write `manifest.json`.

        Raises:
            StateError: The file can't be written.
        """
        write(self.path / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())

    def ask_for(self, iterations: int, done: int) -> None:
        """Write another number of iterations into `config.toml`.

        Args:
            iterations: How many there should be in all.
            done: How many there are.

        Raises:
            ConfigError: There are more already.
            StateError: The file can't be written.
        """
        if iterations < done:
            raise ConfigError(
                f"--iterations must be at least the {done} that are done in {self.path}, got {iterations}; "
                "it counts them all, not those to add"
            )
        if iterations != self.settings.run.iterations:
            run = dataclasses.replace(self.settings.run, iterations=iterations)
            self.settings = dataclasses.replace(self.settings, run=run)
            write(self.path / "config.toml", self.settings.to_toml().encode())

    def is_finished(self, drawn: bool = True) -> bool:
        """Tell whether the last thing a run writes is there, and says that it ended.

        Args:
            drawn: Whether pictures belong to it.
        """
        try:
            manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False  # missing or damaged: it is written anew
        return (
            isinstance(manifest, dict)
            and manifest.get("status") == "finished"
            and isinstance(manifest.get("iterations"), int)
            and manifest["iterations"] >= self.settings.run.iterations
            and all((self.path / name).exists() for name in PICTURES if drawn)
        )

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def config_text(path: Path) -> str:
    """Read the `config.toml` of a run's folder.

    Raises:
        ConfigError: There is no such folder, it holds no run, or the file can't be read.
    """
    config = path / "config.toml"
    if not os.path.isdir(path):  # unlike Path.is_dir, also says no where it may not look
        raise ConfigError(
            f"run folder must exist, got {path}; make one with: diffsim train NAME --out {path}"
        )
    if not os.path.exists(config):
        raise ConfigError(
            f"run folder must hold config.toml, got {path} without it; give the folder that train made"
        )
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} must be readable text, got: {error}; restore the file") from None


def check_new(path: Path) -> None:
    """Refuse a path that holds something already.

    Raises:
        ConfigError: It is a file, or a folder that is not empty.
    """
    try:
        if path.is_dir():
            if any(not is_leftover(entry) for entry in path.iterdir()):
                is_run = (path / "config.toml").exists()
                raise ConfigError(
                    f"--out must be a new or empty folder, got {path}, which holds "
                    + (f"a run; go on with it (diffsim resume {in_shell(path)}) or " if is_run else "files; ")
                    + "choose another"
                )
        elif path.exists() or path.is_symlink():
            raise ConfigError(f"--out must be a folder, got {path}, which is a file; choose another")
    except OSError as error:
        raise ConfigError(
            f"--out must be a folder that can be made, got {path} ({error.strerror or error}); choose another"
        ) from None


def _appear(path: Path, config: bytes) -> None:
    """Make a folder that holds its configuration from the first moment on."""
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        write(draft / "config.toml", config)
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o777 & ~mask)  # mkdtemp's folder is private
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def free_folder(name: str) -> Path:
    """Choose a folder for a run that was given none: `runs/NAME`, `runs/NAME-2` ..."""
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path


def _lock(path: Path) -> LockFile:
    """Take the folder for this process; the system frees it when the process ends, however it ends."""
    try:
        return LockFile(path / LOCK)
    except BlockingIOError:
        raise ConfigError(
            f"run folder must not be in use, got {path}, where a process is at work; wait for it"
        ) from None
