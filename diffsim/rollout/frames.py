"""What fields with a time axis held: over a whole run, or at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from diffsim.compiler.ir import Buffer
from diffsim.compiler.program.lowered import LoweredProgram
from diffsim.engine.engine import Engine
from diffsim.engine.pools import cells_together
from diffsim.errors import ConfigError, StateError
from diffsim.language.controls import Control
from diffsim.language.fields import Field, Scratch, State
from diffsim.language.trace import Program
from diffsim.options import plain_number
from diffsim.rollout.inputs import Inputs

__all__ = ["Ending", "Names", "checked_every", "chosen_fields", "named_buffers", "states_of"]

Names = Mapping[str, Field | str] | Iterable[Field | str]
_TIMED = (State, Scratch, Control)


def named_buffers(program: Program, lowered: LoweredProgram, fields: Names, what: str) -> dict[str, Buffer]:
    """Return the memory of the fields that a user names; see `chosen_fields`.

    Args:
        program: Whose fields they are.
        lowered: Where their memory is told.
        fields: Fields or keys; a dict has names for them.
        what: What they are for, in messages.

    Raises:
        ConfigError: One is no State, Scratch or Control of the program.
    """
    chosen = chosen_fields(program, fields, what)
    return {name: lowered.buffers.by_field[id(field)] for name, field in chosen.items()}


def chosen_fields(program: Program, fields: Names, what: str) -> dict[str, Field]:
    """Return the fields that a user names, under the user's names or their keys.

    Args:
        program: Whose fields they are.
        fields: Fields or keys; a dict has names for them.
        what: What they are for, in messages.

    Raises:
        ConfigError: One is no State, Scratch or Control of the program.
    """
    if isinstance(fields, Mapping):
        return {name: _timed(program, item, what, _TIMED) for name, item in fields.items()}
    single = isinstance(fields, str | Field) or not isinstance(fields, Iterable)
    found = [_timed(program, item, what, _TIMED) for item in ([fields] if single else fields)]
    return {field.key: field for field in found}


def states_of(program: Program, field: Any) -> list[State]:
    """Return the State that a user names, or all for None.

    Raises:
        ConfigError: It is no State of the program.
    """
    if field is None:
        return [f for f in program.fields.values() if isinstance(f, State)]
    return [_timed(program, field, "final", (State,))]


def checked_every(every: Any) -> int:
    """Return the steps between frames that a user asks for.

    Raises:
        ConfigError: It is not a positive integer.
    """
    every = plain_number(every)
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ConfigError(f"every must be a positive integer, got {every!r}; use 1 for all frames")
    return every


def _timed(program: Program, item: Any, what: str, kinds: tuple[type, ...]) -> Any:
    """Return the field that a user means."""
    fields = program.fields
    field = fields.get(item) if isinstance(item, str) else item
    if isinstance(field, kinds) and any(field is known for known in fields.values()):
        return field
    *others, last = [kind.__name__ for kind in kinds]
    wanted = f"{', '.join(others)} or {last}" if others else last
    listed = [key for key, known in fields.items() if isinstance(known, kinds)]
    raise ConfigError(
        f"{what} must be of a {wanted} of {type(program.simulator).__name__}, got {item!r}; it has "
        f"{', '.join(listed) or 'none'}"
    )


class Ending:
    """The States at the end of a rollout's last run, read from memory while that still holds them.

    Args:
        engine: What runs.
        inputs: What brings values to it.
    """

    def __init__(self, engine: Engine, inputs: Inputs) -> None:
        self._engine, self._inputs = engine, inputs
        self._stamp: int | None = None
        self._lacking = "none yet"
        self._versions: dict[str, int] = {}
        self._kept: dict[str, Any] | None = None

    @contextmanager
    def run(self, at_end: bool = False) -> Iterator[None]:
        """Make the context of a run: what an earlier one left counts no more, and what one leaves that fails.

        Args:
            at_end: Its last segment is run last; in a backward pass it is where there is no other.
        """
        self._stamp, self._kept, self._lacking = None, None, "one that failed"
        yield
        whole = at_end or self._engine.segments.count == 1
        self._stamp, self._versions = self._engine.stamp if whole else -1, self._inputs.versions()

    def read(self) -> dict[str, Any]:
        """Return the values by key, worlds first where there are many; of sparse layouts `Cells`.

        Raises:
            StateError: Nothing ran yet, or the last run failed; or the end is no longer in memory, and values
                were set since, or may have been.
        """
        if self._stamp is None:
            raise StateError(f"final must be read after a run, got {self._lacking}; call value() first")
        if self._kept is None:
            if self._stamp != self._engine.stamp:
                self._repeat()
            self._kept = _last_states(self._engine)
        return self._kept

    def _repeat(self) -> None:
        now = self._inputs.versions()
        changed = [key for key, version in self._versions.items() if now[key] != version]
        if changed:
            raise StateError(
                f"final must be read before values change, got another {', '.join(changed)} since the run, "
                "whose end is no longer in memory; call value() first"
            )
        buffers = self._engine.lowered.buffers
        if buffers.external or buffers.followed:  # nobody is told when one is changed
            raise StateError(
                "final must be read while memory holds the end, got a gradient in several segments, of "
                "kernels that read Taichi fields made by hand, which may have changed; call value() first"
            )
        self._inputs.upload()
        with self.run(at_end=True):
            self._engine.forward()


def _last_states(engine: Engine) -> dict[str, Any]:
    """Copy the States behind the last segment, which is in memory."""
    segments, layout = engine.segments, engine.plan.layout
    slot = segments.span(segments.count - 1)[1] + layout.history - 1
    found: dict[str, Any] = {}
    for buffer in (b for b in engine.lowered.all_states if not b.hidden):
        field: Field = buffer.source
        if buffer.place is not None:
            found[field.key] = cells_together(engine.storage, buffer, [slot], field.type.shape)
            continue
        once = buffer.kind == "derived"
        arrays = engine.storage.arrays(buffer, None if once else [slot])
        values = np.stack([a if once else a[:, 0] for a in arrays], axis=-1)
        values = values.reshape((layout.worlds, *field.element_shape))
        found[field.key] = values if layout.worlds > 1 else values[0]
    return found
