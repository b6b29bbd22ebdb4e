"""Reading the alarms that kernels raised: indices and divisors that left their range, asserts that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.checks.alarms import Alarm, Alarms, Assertion, Slot
from diffsim.compiler.codegen.checks import zero_kernel
from diffsim.engine.launch import Launcher
from diffsim.engine.storage import Storage
from diffsim.errors import CapacityError, StateError

__all__ = ["AlarmBoard"]


class AlarmBoard:
    """The alarms of a program in memory.

    Args:
        alarms: What kernels look at.
        storage: Where they raise them.
    """

    def __init__(self, alarms: Alarms, storage: Storage) -> None:
        self._alarms, self._storage = alarms, storage
        self._launcher: Launcher | None = None

    def clear(self) -> None:
        """Put out what an earlier run raised; on a device nobody asks whether there is any."""
        if self._alarms.all and not self._storage.on_cpu:
            if self._launcher is None:
                text = zero_kernel("put_out", self._storage.layout, self._alarms.buffer)
                self._launcher = Launcher(text, self._storage)
            self._launcher()
        elif self._alarms.all and np.any(self._storage.arrays(self._alarms.buffer)[0]):
            self._storage.write(self._alarms.buffer, np.zeros(()), ())

    def close(self) -> None:
        """Let go of its kernel."""
        if self._launcher is not None:
            self._launcher.close()

    def check(self) -> None:
        """Raise the alarm of the earliest step, if any.

        Raises:
            CapacityError: A sparse layout had no room for the blocks that were written to.
            StateError: An index left its field, a number its range, or an assert failed, while kernels ran.
        """
        if not self._alarms.all:
            return
        board = self._storage.arrays(self._alarms.buffer)[0]
        raised = np.argwhere(board[..., 0])
        if not len(raised):
            return
        world, row = min(raised.tolist(), key=lambda at: (board[at[0], at[1], 2], at[1], at[0]))
        number, step = int(board[world, row, 1]), int(board[world, row, 2])
        alarm = self._alarms.all[row]
        got, remedy = str(number), alarm.remedy
        if alarm.said is not None:
            got, message = _texts(alarm.said, self._storage.arrays(self._alarms.numbers)[0][world, row])
            remedy = message or remedy
        place = f"at step {step}" + (f" of world {world}" if len(board) > 1 else "")
        text = f"{_rule(alarm)} {got} {place}; {remedy}"
        if alarm.grows is not None:
            raise CapacityError(text, alarm.grows, number)
        raise StateError(text)


def _rule(alarm: Alarm) -> str:
    return f"{alarm.where}: {alarm.rule}"


def _texts(said: Assertion, numbers: NDArray[np.float64]) -> tuple[str, str]:
    """Return what an assert got and what the user says to it, with the numbers filled in."""
    rest = iter(numbers.tolist())
    got, message = ("".join(_filled(part, rest) for part in parts) for parts in (said.got, said.message))
    return got, message


def _filled(part: str | Slot, rest: Iterator[float]) -> str:
    if isinstance(part, str):
        return part
    values = [_typed(next(rest), dtype) for dtype in part.dtypes]
    if not part.shape:
        return _written(values[0], part.form)
    texts = [_written(value, part.form) for value in values]
    if len(part.shape) == 1:
        return _listed(texts)
    m = part.shape[1]
    return _listed([_listed(texts[k : k + m]) for k in range(0, len(texts), m)])


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(texts)}]"


def _typed(value: float, dtype: str) -> bool | int | float:
    if dtype == "u1":
        return bool(value)
    if dtype.startswith("f"):
        return float(str(np.float32(value))) if dtype == "f32" else value
    return int(value)


def _written(value: bool | int | float, form: str) -> str:
    try:
        return format(value, form) if form else str(value)
    except (TypeError, ValueError):  # a form that fits another type
        return str(value)
