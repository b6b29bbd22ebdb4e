"""Run a function in a fresh process and take what it returns: memory and runtimes do not mix."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any


def _serve(pipe: Any, function: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
    try:
        for item in function(*args):
            pipe.send(("item", item))
        pipe.send(("end", None))
    except Exception as error:  # noqa: BLE001  (the parent raises it)
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def stream(function: Callable[..., Iterator[Any]], *args: Any, limit: float | None = None) -> Iterator[Any]:
    """Yield what a generator function yields in a process of its own, as it comes.

    Args:
        function: A function of a module, with arguments that can be pickled.
        args: Its arguments.
        limit: Seconds that it may take in all; None for as long as it wants.

    Raises:
        RuntimeError: It raised, took too long, or the process died.
    """
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_serve, args=(other, function, args), daemon=True)
    process.start()
    other.close()
    end = None if limit is None else time.monotonic() + limit
    try:
        while True:
            if end is not None and not pipe.poll(max(0.0, end - time.monotonic())):
                process.terminate()
                raise RuntimeError(f"not done within {limit:.0f} s")
            try:
                kind, item = pipe.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"a process died with status {process.exitcode}") from None
            if kind == "error":
                raise RuntimeError(item)
            if kind == "end":
                return
            yield item
    finally:
        process.join(10)
        if process.is_alive():
            process.terminate()
