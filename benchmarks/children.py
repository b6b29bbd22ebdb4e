"""Run a function in a fresh process and take what it returns: memory and runtimes do not mix."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any


def _serve(pipe: Any, function: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
    try:
        for item in function(*args):
            pipe.send(("item", item))
        pipe.send(("end", None))
    except Exception as error:  # noqa: BLE001  (the parent raises it)
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def stream(function: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
    """Yield what a generator function yields in a process of its own, as it comes.

    Args:
        function: A function of a module, with arguments that can be pickled.
        args: Its arguments.

    Raises:
        RuntimeError: It raised, or the process died.
    """
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_serve, args=(other, function, args), daemon=True)
    process.start()
    other.close()
    try:
        while True:
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
