"""Work in a process that was forked off: whatever ends it, this one goes on and knows how far it got.

A fork knows all objects that this process knows, a simulator typed into a shell among them. It has no other
threads: Taichi compiles without any (`_taichi.initialise`), and kernels must be launched with their loops in
    order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from diffsim import runtime

__all__ = ["Died", "can_fork", "forked"]

Say = Callable[[Any], None]


@dataclasses.dataclass(frozen=True)
class Died:
    """Say that the process ended before its work was done.

    Attributes:
        how: What happened to it: `was killed by SIGSEGV`.
    """

    how: str


def can_fork() -> bool:
    """Tell whether this system forks processes that may go on to work."""
    return sys.platform.startswith("linux")


def forked(work: Callable[[Say], None], hear: Say, limit: float) -> Died | None:
    """Do work in a forked process.

    Args:
        work: What to do there; it gets a function that hands objects to this process.
        hear: Called here with each of them.
        limit: Seconds that may go by without one.

    Returns:
        None, or how the process ended before its work was done.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there may be threads, from Python 3.12 on
        number = os.fork()
    if number == 0:
        _child(work, theirs)
    theirs.close()
    done = False
    try:
        while ours.poll(limit):
            message = ours.recv()
            if message == "done":
                done = True
                break
            hear(message)
        else:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            return Died(f"took longer than {limit:.0f} s")
    except EOFError:
        pass
    except BaseException:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        raise
    finally:
        ours.close()
    _, status = os.waitpid(number, 0)
    return None if done else Died(_how(status))


def _child(work: Callable[[Say], None], answers: Connection) -> None:
    """Work, and end without a goodbye."""
    status = 1
    with contextlib.suppress(BaseException):
        gc.disable()  # what is collected here may wait for threads that are not
        _be_silent()
        running = runtime._runtime
        if running.info is not None:
            running.info = dataclasses.replace(running.info, guard=0.0, threads=1)
        try:
            work(answers.send)
            answers.send("done")
            status = 0
        except BaseException as error:  # noqa: BLE001  (it is told to who asked)
            answers.send(error)
    os._exit(status)


def _be_silent() -> None:
    """Keep what dying code writes from the user, and leave no core file."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGINT,
    ):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}"
        return f"was killed by signal {number}"
    return f"ended with status {os.WEXITSTATUS(status)}"
