"""Whether kernels were read rightly: the values of the first steps against those of plain Python.

All other checks run what was read from the kernels' text, in one way or another; differences of wrong values
are wrong with them. Mode `python` shares nothing with reading, so a difference tells.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.errors import DiffsimError
from diffsim.language.fields import Scratch, State
from diffsim.language.trace import Program
from diffsim.plain.memory import Memory
from diffsim.plain.running import PlainRun, TooLong
from diffsim.rollout.collecting import Collecting
from diffsim.rollout.grad.probe import Arrays, Probe

__all__ = ["SECONDS", "Readings", "compared"]

SECONDS = 2.0  # that plain Python may take, unless told otherwise
_ALLOWED = 1e-8  # of the largest number of a field
_FLOOR = 1e-12  # of the largest number of all fields
_MOST = 1 << 22  # cells of a field that is compared
_BESIDE = 1e-3


@dataclass(frozen=True)
class Readings:
    """What a comparison with plain Python found.

    Attributes:
        error: The largest difference of the first step's values, relative to the largest of their field; None
            where nothing was compared.
        where: The place at which they differ, with both numbers; empty where they agree.
        what: What was compared.
        lacking: What was not, and why; empty where all was.
    """

    error: float | None = None
    where: str = ""
    what: str = ""
    lacking: str = ""


@dataclass
class _Seen:
    """What plain Python has computed of world 0."""

    states: list[Arrays] = field(default_factory=list)  # at t = 1, 2, ...
    scratches: Arrays = field(default_factory=dict)  # of step 0
    cost: float | None = None  # of the whole run, where there was time for it


def compared(probe: Probe, program: Program, values: Arrays, seconds: float) -> Readings:
    """Compare a program's values with those of plain Python.

    Args:
        probe: Runs it, in f64.
        program: The trace.
        values: Of what the gradient is for.
        seconds: That plain Python may take.
    """
    found = _once(probe, program, values, seconds)
    if not found.where:
        return found
    rng = np.random.default_rng(0)
    beside = {
        key: v + _BESIDE * (float(np.sqrt(np.mean(np.square(v)))) or 1.0) * rng.normal(size=v.shape)
        for key, v in values.items()
    }
    again = _once(probe, program, beside, seconds)
    if again.error is None or again.where:
        return found
    lacking = f"values against plain Python at this very point, where rounding decides a jump: {found.where}"
    return Readings(again.error, "", again.what, lacking)


def _once(probe: Probe, program: Program, values: Arrays, seconds: float) -> Readings:
    name = "values against plain Python"
    try:
        seen = _plainly(probe, program, values, seconds)
    except DiffsimError as error:
        return Readings(lacking=f"{name} ({error})")
    except Exception as error:  # noqa: BLE001  (whatever plain Python cannot do is no fault of the gradient)
        return Readings(lacking=f"{name} ({type(error).__name__}: {error})")
    if not seen.states:
        return Readings(lacking=f"{name}, whose first step takes longer than {seconds:g} s")
    probe.write(values)
    return _against(probe, program, seen)


def _plainly(probe: Probe, program: Program, values: Arrays, seconds: float) -> _Seen:
    """Run world 0 as plain Python, as far as there is time."""
    engine, fields = probe.engine, program.fields
    run = PlainRun(
        program.simulator,
        [*fields.values(), program.simulator.cost, program.simulator.done],
        engine.plan.steps,
        1,
        engine.info.real,
        engine.info.seed,
    )
    run.given = {id(fields[key]): array for key, array in probe.formed(values).items() if key in fields}
    run.deadline = time.perf_counter() + seconds
    seen, states = _Seen(), {k: f for k, f in fields.items() if isinstance(f, State)}

    def observe(memory: Memory, world: int) -> None:
        if memory.phase == "terminal_cost":
            return
        if memory.t == 0:
            scratches = {k: f for k, f in fields.items() if isinstance(f, Scratch)}
            seen.scratches = {key: memory.at(f, 0).copy() for key, f in scratches.items()}
        seen.states.append({key: memory.at(f, memory.t + 1).copy() for key, f in states.items()})

    try:
        [seen.cost] = run.run(program.seeds.run, observe)
    except TooLong:
        seen.cost = None
    return seen


class _Enough(Exception):
    """End a run whose first steps are all that is wanted."""


def _against(probe: Probe, program: Program, seen: _Seen) -> Readings:
    """Run the program, and compare what it holds."""
    engine = probe.engine
    by_field = engine.lowered.buffers.by_field
    buffers: dict[str, Buffer] = {}
    for key, declared in program.fields.items():
        buffer = by_field.get(id(declared))
        held = isinstance(declared, Scratch) and engine.plan.layout.held
        small = buffer is not None and int(np.prod(declared.element_shape)) <= _MOST
        if buffer is not None and small and (buffer.kind == "state" or (held and buffer.kind == "scratch")):
            buffers[key] = buffer
    count = len(seen.states)
    frames: dict[str, list[NDArray[Any]]] = {key: [] for key in buffers}

    def put(key: str, block: NDArray[Any]) -> None:
        wanted = 1 if buffers[key].kind == "scratch" else count + 1
        frames[key] += [np.array(frame) for frame in block[: max(0, wanted - len(frames[key]))]]
        full = all(len(f) >= (1 if buffers[k].kind == "scratch" else count + 1) for k, f in frames.items())
        if full and seen.cost is None:
            raise _Enough

    try:
        Collecting(engine, buffers, 1).run(put)
    except _Enough:
        engine.lengths = None
    many = engine.plan.worlds > 1
    found = {key: [frame[0] if many else frame for frame in f] for key, f in frames.items()}
    costs = engine.cost() if seen.cost is not None else None
    return _judged(found, buffers, seen, costs, " of world 0" if many else "")


def _judged(
    found: dict[str, list[NDArray[Any]]], buffers: dict[str, Buffer], seen: _Seen, costs: Any, of: str
) -> Readings:
    pairs = {}
    for key, frames in found.items():
        if buffers[key].kind == "scratch":
            pairs[f"{key} of step 0"] = (frames[0], seen.scratches[key])
        else:
            pairs[f"{key} at t = 1"] = (frames[1], seen.states[0][key])
    error, where = _difference(pairs)
    what = f"{len(pairs)} fields at the first step{of}"
    if where or seen.cost is None:
        return Readings(error, where, what)
    for t, states in enumerate(seen.states[1:], 2):
        later = {f"{key} at t = {t}": (found[key][t], states[key]) for key in states if key in found}
        if _difference(later)[1]:
            return Readings(
                error, "", what, f"values against plain Python from t = {t} on, where rounding grows"
            )
    cost = {"the cost": (np.array(costs[0]), np.array(seen.cost))}
    off, where = _difference(cost)
    return Readings(max(error, off), where, f"all {len(seen.states)} steps{of}, and the cost")


def _difference(pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, str]:
    """Return the largest relative difference of fields, and where it is more than rounding."""
    error, where, size = 0.0, "", 0.0
    every = [np.abs(np.nan_to_num(np.asarray(b, np.float64))) for _, b in pairs.values()]
    size = max((float(np.max(b, initial=0.0)) for b in every), default=0.0)
    for name, (a, b) in pairs.items():
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        off = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf))
        scale = float(np.max(np.abs(np.nan_to_num(b)), initial=0.0))
        worst = float(np.max(off, initial=0.0))
        relative = worst / max(scale, size * _FLOOR / _ALLOWED, 1e-300)
        if relative > _ALLOWED and (not where or relative > error):
            index = [int(k) for k in np.unravel_index(int(np.argmax(off)), off.shape)]
            key, _, rest = name.partition(" ")
            place = f"{key}{index if index else ''} {rest}".strip() if key != "the" else name
            at = tuple(index)
            where = f"{place} is {a[at]:.9g}, and {b[at]:.9g} in plain Python"
        error = max(error, relative)
    return error, where
