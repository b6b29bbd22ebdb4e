"""A run in a browser while it trains: its curves, and now and then its motion."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from diffsim.errors import DiffsimError
from diffsim.progress import Progress
from diffsim.tasks.runs.folder import RunFolder
from diffsim.tasks.runs.problem import Problem
from diffsim.tasks.runs.state import History, Snapshot
from diffsim.tasks.runs.watching import Watcher
from diffsim.tasks.serving.server import HTML, JSON, Answer, Query, Server, open_browser
from diffsim.view.page import Course, Motion, live_page, packed_live, packed_stages
from diffsim.view.page.pack import json_for_html
from diffsim.view.trajectory import Trajectory

__all__ = ["Live"]

_SHARE = 0.05  # of the time of training may go into recording what is watched
_PAUSE = 2.0  # seconds between two motions at least
_AWAY = 6.0  # seconds without a question after which nobody watches
_ROOM = 1_200_000  # bytes of the motions in one answer
_GOODBYE = 3.0  # seconds that a page has to fetch the report at the end


class Live(Watcher):
    """Serves a run until it ends.

    Args:
        progress: Where to say what to open.
        browse: Whether to open it, where there is a display.
    """

    def __init__(self, progress: Progress, browse: bool = True) -> None:
        self._progress, self._browse = progress, browse
        self._server: Server | None = None
        self._lock = threading.Lock()
        self._status, self._title, self._label, self._name = "training", "", "cost", ""
        self._history, self._total = History(), 0
        self._before: Trajectory | None = None
        self._now: tuple[int, Trajectory] | None = None
        self._packed: tuple[int, bytes] = (-1, b"null")
        self._version = 0
        self._asked = -_AWAY
        self._due = 0.0
        self._page: Path | None = None
        self._fetched = threading.Event()

    # ---- the thread that trains ----

    def begin(self, folder: RunFolder, problem: Problem, snapshot: Snapshot) -> None:
        self._problem, self._history = problem, snapshot.history
        self._total = folder.settings.run.iterations
        self._title, self._label, self._name = problem.task.title(), problem.task.cost_label, folder.path.name
        if not len(self._history):
            self._before = self._recorded()
            self._now = None if self._before is None else (0, self._before)
        self._server = Server(self._answer)
        self._progress.say(f"watch at {self._server.address}")
        if self._browse:
            open_browser(self._server.address)

    def look(self) -> float:
        began = time.perf_counter()
        if self._server is None or began < self._due or began - self._asked > _AWAY:
            return 0.0
        motion = self._recorded()
        spent = time.perf_counter() - began
        self._due = began + max(_PAUSE, spent / _SHARE)
        if motion is None:
            self._due = float("inf")  # the report says why
            return spent
        with self._lock:
            self._version += 1
            self._now = (len(self._history), motion)
        return spent

    def _recorded(self) -> Trajectory | None:
        try:
            return self._problem.motion()
        except DiffsimError:
            return None

    def draw(self) -> None:
        self._status = "drawing"

    def end(self, status: str, page: Path | None) -> None:
        if self._server is None:
            return
        self._status, self._page = status, page
        if page is not None and time.perf_counter() - self._asked < _AWAY:
            self._fetched.wait(_GOODBYE)

    def __exit__(self, *exception: object) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # ---- the threads that answer ----

    def _answer(self, path: str, query: Query) -> Answer | None:
        self._asked = time.perf_counter()
        if path == "/":
            return HTML, live_page(self._name, self._title).encode()
        if path == "/state.json":
            return JSON, json_for_html(self._state()).encode()
        if path == "/stage.json":
            return JSON, self._stage()
        if path == "/report.html" and self._page is not None:
            content = self._page.read_bytes()
            self._fetched.set()
            return HTML, content
        return None

    def _state(self) -> dict[str, Any]:
        history = self._history
        count = len(history.seconds)  # what is appended last
        course = Course(
            history.costs[:count], history.grad_norms[:count], history.seconds[:count], label=self._label
        )
        status = self._status
        return packed_live(course) | {
            "status": status,
            "total": self._total,
            "stage": self._version,
            "report": self._page is not None,
        }

    def _stage(self) -> bytes:
        """Pack the motions, once for each version."""
        with self._lock:
            version, before, now = self._version, self._before, self._now
            if self._packed[0] == version:
                return self._packed[1]
        motions = [] if before is None else [Motion("before", "training", before)]
        if now is not None and now[1] is not before:
            motions.append(Motion("now", f"iteration {now[0]}", now[1]))
        content = json_for_html(next(iter(packed_stages(motions, _ROOM)), None)).encode()
        with self._lock:
            self._packed = (version, content)
        return content
