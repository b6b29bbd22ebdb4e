"""Finding the text of functions: in files and notebooks, in `python -c`, in what a shell remembers."""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from diffsim.errors import TraceError

__all__ = ["check_source", "source_of"]

_NOWHERE = {  # what Python calls text without a file
    "<string>": "text that exec() runs, which Python does not keep",
    "<stdin>": "the standard input (a heredoc, a pipe, a bare shell), which Python does not keep",
    "<console>": "a shell that keeps no history",
}
_STARTED = time.time()
_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def source_of(function: Callable[..., Any]) -> tuple[list[str], int, str]:
    """Return the lines of a function's definition, the number of the first, and the file that they are in.

    Text that does not come from a file, or from one that was edited since, counts only where it compiles to
    this very function: other text may go by the same name.

    Raises:
        TraceError: There is no such text.
    """
    function = inspect.unwrap(function)
    code = function.__code__
    if os.path.exists(code.co_filename):
        try:
            _check_unchanged(function)
            lines, start = inspect.getsourcelines(function)
            return lines, start, inspect.getsourcefile(function) or code.co_filename
        except (OSError, TypeError) as error:
            raise _missing(function, f"none ({error})") from error
    for text in _candidates(function):
        if _compiles_to(text, code):
            lines = text.splitlines(keepends=True)[code.co_firstlineno - 1 :]
            return inspect.getblock(lines), code.co_firstlineno, code.co_filename
    raise _missing(function, _NOWHERE.get(code.co_filename, f"no file {code.co_filename!r}"))


def check_source(function: Callable[..., Any]) -> None:
    """Refuse a kernel without text where it is defined; one in a file is believed until it is read.

    Raises:
        TraceError: There is no text.
    """
    if not os.path.exists(function.__code__.co_filename):
        source_of(function)


def _check_unchanged(function: Callable[..., Any]) -> None:
    """Refuse the text of a file that was edited after its functions were made.

    Only files younger than this session are looked at: in others, tools that rewrite functions while they are
    imported may have been at work.

    Raises:
        TraceError: The text does not compile to the function.
    """
    file = function.__code__.co_filename
    young = os.path.getmtime(file) > _STARTED
    if young and not _compiles_to("".join(inspect.findsource(function)[0]), function.__code__):
        raise TraceError(
            f"{function.__qualname__} must have the text that it was made from, got {file}, which was edited "
            "since; import it anew (importlib.reload), or start again"
        )


def _missing(function: Callable[..., Any], found: str) -> TraceError:
    return TraceError(
        f"{function.__qualname__} must have source text that can be read, got {found}; save the "
        "program as a file and run that, or use a notebook or IPython"
    )


def _candidates(function: Callable[..., Any]) -> Iterator[str]:
    """Yield texts that a function without a file may come from."""
    with contextlib.suppress(OSError, TypeError):
        yield "".join(inspect.findsource(function)[0])  # a notebook, a doctest, a module in an archive
    name = function.__code__.co_filename
    if name == "<string>":
        for argument in sys.orig_argv[1:]:
            yield argument + "\n"
            if argument.startswith("-"):
                yield argument.partition("c")[2] + "\n"  # -c"...", or -Bc"..."
    if name == "<stdin>":
        yield _standard_input()
    yield from _history()
    yield from _cells()


def _standard_input() -> str:
    """Return what standard input holds where it is a file, as in `python < program.py`; else nothing."""
    try:
        status = os.fstat(0)
        if not stat.S_ISREG(status.st_mode):
            return ""
        return os.pread(0, status.st_size, 0).decode()
    except (OSError, AttributeError, UnicodeDecodeError):  # closed, no pread on Windows, another encoding
        return ""


def _history() -> Iterator[str]:
    """Yield statements that were typed into a shell, the newest first."""
    readline = sys.modules.get("readline")  # a shell that keeps a history has imported it
    if readline is None:
        return
    count = readline.get_current_history_length()
    lines = [readline.get_history_item(k) or "" for k in range(1, count + 1)]
    end = len(lines)
    for start in reversed(range(len(lines))):
        line = lines[start]
        if not line[:1].strip():
            continue  # it belongs to the statement above
        yield "\n".join(lines[start:end]) + "\n"
        if start and not lines[start - 1].startswith("@"):  # a decorator is part of what it decorates
            end = start


def _cells() -> Iterator[str]:
    """Yield what stands below the first line of cells, such as `%%time`, which runs the rest by itself."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    for cell in reversed(shell.history_manager.input_hist_raw if shell is not None else []):
        yield shell.transform_cell(cell.partition("\n")[2])


def _compiles_to(text: str, code: CodeType) -> bool:
    """Tell whether a text holds the definition that a function was made from."""
    flags = code.co_flags & _FUTURE | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # which notebooks have
    forms: list[tuple[str | ast.Module, str]] = [(text, "exec"), (text, "single")]
    forms += [(part, "exec") for part in _statement_at(text, code.co_firstlineno)]
    for source, mode in forms:
        with contextlib.suppress(SyntaxError, ValueError):
            if any(
                other == code for other in _codes(compile(source, "text", mode, flags, dont_inherit=True))
            ):
                return True
    return False


def _statement_at(text: str, line: int) -> Iterator[ast.Module]:
    """Yield the statement of a cell that a line is in, by itself, as notebooks compile it.

    Python calls `ti.sin` in another way where it sees `import taichi as ti` beside it.
    """
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.parse(text).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            if first <= line <= (node.end_lineno or node.lineno):
                yield ast.Module([node], [])


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
