"""The guard's handle on its other process: starting it, talking to it, noticing its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from diffsim.engine.worker import FRAME

__all__ = ["Child", "ChildDied"]

_START_SECONDS = 120.0  # importing Taichi from a slow network drive
_TAIL = 2000  # characters of what the process said last

# The package's own __init__ imports all of diffsim: a bare one makes the process ready in half the time.
_PROGRAM = """
import sys, types
sys.path[:] = {path!r}
package = types.ModuleType("diffsim")
package.__path__ = [{package!r}]
sys.modules["diffsim"] = package
from diffsim.engine.worker import main
main({requests}, {answers}, {lifeline})
"""


class ChildDied(Exception):
    """Say that the process ended, or was ended because it took too long.

    Attributes:
        key: The text that it was at, empty where none.
        phase: `start`, `compile` or `run`.
        how: What happened to it: `was killed by SIGSEGV`.
        late: It was ended because it took too long.
        said: The last that it wrote to standard error.
    """

    def __init__(self, key: str, phase: str, how: str, late: bool, said: str) -> None:
        super().__init__(how)
        self.key, self.phase, self.how, self.late, self.said = key, phase, how, late, said


class Child:
    """A process that compiles and runs texts; see `diffsim.engine.worker`.

    Raises:
        OSError: It can't be started.
    """

    def __init__(self) -> None:
        self.used = False
        self._key, self._phase = "", "start"
        self._outgoing, self._incoming = bytearray(), bytearray()
        self._messages: list[dict[str, Any]] = []
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        theirs: list[int] = []
        ours: list[int] = []
        try:
            for writing in (True, False, True):  # requests, answers, lifeline
                ends = os.pipe()
                ours.append(ends[int(writing)])
                theirs.append(ends[int(not writing)])
            self._requests, self._answers, self._lifeline = ours
            os.set_blocking(self._requests, False)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _program(*theirs)],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=theirs,
                start_new_session=True,  # Ctrl-C is not for it
            )
        except BaseException:
            _close([*ours])
            self._said.close()
            raise
        finally:
            _close(theirs)

    def send(self, header: dict[str, Any], data: bytes = b"") -> None:
        """Send a request, as far as the pipe takes it now; the rest goes while waiting."""
        text = json.dumps(header).encode()
        self._outgoing += FRAME.pack(len(text), len(data)) + text + data
        self._pump(0.0, reading=False)

    def wait(self, key: str, limit: float) -> str:
        """Wait until a text passed.

        Args:
            key: Of the text.
            limit: Seconds that one compilation or run may take.

        Returns:
            Empty, or the error that Python raised instead.

        Raises:
            ChildDied: The process ended, or took too long and was ended.
        """
        self.used = True
        until = time.monotonic() + (_START_SECONDS if self._phase == "start" else limit)
        while True:
            while self._messages:
                message = self._messages.pop(0)
                until = time.monotonic() + limit
                self._key, self._phase = message.get("key", ""), message["phase"]
                if self._key == key and self._phase in ("done", "error"):
                    return str(message.get("text", ""))
            left = until - time.monotonic()
            if left <= 0:
                raise self._died(
                    f"took longer than {limit:.0f} s" if self._phase != "start" else "did not start"
                )
            if not self._pump(left, reading=True):
                raise self._died("")

    def _pump(self, timeout: float, reading: bool) -> bool:
        """Move bytes both ways; tell whether the other side is still there."""
        writing = [self._requests] if self._outgoing else []
        ready, free, _ = select.select([self._answers] if reading else [], writing, [], timeout)
        if free:
            try:
                del self._outgoing[: os.write(self._requests, self._outgoing)]
            except BlockingIOError:
                pass
            except OSError:  # what it said last is still to be read
                self._outgoing.clear()
        if ready:
            part = os.read(self._answers, 1 << 16)
            if not part:
                return False
            self._incoming += part
            *lines, rest = self._incoming.split(b"\n")
            self._incoming = bytearray(rest)
            self._messages += [json.loads(line) for line in lines]
        return True

    def _died(self, late: str) -> ChildDied:
        if late:
            self._process.kill()
        try:
            status = self._process.wait(5.0)
        except subprocess.TimeoutExpired:  # it closed its pipe but lives on
            self._process.kill()
            status = self._process.wait()
        if not late and status == -signal.SIGALRM:
            late = "took too long"
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - _TAIL))
        said = self._said.read().decode(errors="replace").strip()
        self.close()
        return ChildDied(self._key, self._phase, late or _how(status), bool(late), said)

    def close(self) -> None:
        """End the process at once."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        self._close_files()

    def disown(self) -> None:
        """Let go of the process without ending it: it belongs to the one that this was forked from."""
        self._process.returncode = 0
        self._close_files()

    def _close_files(self) -> None:
        _close([self._requests, self._answers, self._lifeline])
        self._requests = self._answers = self._lifeline = -1
        self._said.close()


def _program(requests: int, answers: int, lifeline: int) -> str:
    path = [entry or os.getcwd() for entry in sys.path]
    package = str(Path(__file__).resolve().parents[1])
    return _PROGRAM.format(path=path, package=package, requests=requests, answers=answers, lifeline=lifeline)


def _close(handles: list[int]) -> None:
    for handle in handles:
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)


def _how(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"
