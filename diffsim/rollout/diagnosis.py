"""Where numbers stopped being finite: the kernel, the step, the field, the statement, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.interpret import Culprit, Place, Reader, find_culprit, rewrites
from diffsim.compiler.ir import Accumulate, Buffer, Const, Let, Load, Operand, Ref, Stage, Store, Value, walk
from diffsim.engine.engine import Engine
from diffsim.engine.lookout import NAN_HINT, first_bad_state
from diffsim.engine.pools import cell_at, in_use
from diffsim.errors import GradientNotFiniteError, StateError, StateNotFiniteError
from diffsim.language.cells import Cells, numbers_in, place_of
from diffsim.language.fields import Field, State, Valued
from diffsim.rollout.watching import KernelWatch, Moment, Spot

__all__ = ["NanWatch", "explain_gradient", "explain_not_finite", "sensitivity"]

_MOST_WORLDS = 16  # whose shares of a sum are computed by hand


def explain_not_finite(engine: Engine, cost: NDArray[np.float64]) -> str:
    """Run forward again, and say where the first number that is not finite comes from.

    Args:
        engine: What computed the cost.
        cost: The cost of each world, some of them not finite.
    """
    world = int(np.flatnonzero(~np.isfinite(cost))[0])
    where = f" of world {world}" if engine.plan.layout.worlds > 1 else ""
    found = _first_not_finite(engine)
    if found is None:
        return (
            f"the cost{where} must be finite, got {cost[world]}; all States are finite, so look at the "
            f"kernels of running_cost and terminal_cost; {NAN_HINT}"
        )
    step, state, index, _ = found
    return (
        f"the cost{where} must be finite, got {cost[world]}: {state.label} is first not finite at step "
        f"{step} (index {list(index)}); a smaller time step, or parameters "
        f"nearer to a stable run, may help; {NAN_HINT}"
    )


def _first_not_finite(engine: Engine) -> tuple[int, Buffer, tuple[int, ...], float] | None:
    storage, layout, lowered = engine.storage, engine.plan.layout, engine.lowered
    states = [*lowered.constant_reals, *lowered.reals]
    found: list[tuple[int, Buffer, tuple[int, ...], float]] = []
    meant = list(found)  # infinite from the start: blamed last

    def observe(t0: int, n: int, last: bool) -> None:
        if t0 == 0:
            at_start = (first_bad_state([state], storage, layout, 0, 0, np.isinf) for state in states)
            meant.extend(first for first in at_start if first)
        if not found:
            others = [state for state in states if state not in [first[1] for first in meant]]
            first = first_bad_state(others, storage, layout, t0, n)
            found.extend([first] if first else [])

    engine.forward(observe)
    return next(iter(found + meant), None)


def explain_gradient(field: Valued, gradient: NDArray[Any] | Cells) -> str:
    """Say that a gradient is not finite though the cost is, and how to find out why.

    Args:
        field: Of which Param, Control or initial value.
        gradient: It.
    """
    numbers = numbers_in(gradient)
    index = np.argwhere(~np.isfinite(numbers))[0].tolist()
    value = numbers[tuple(index)]
    index = _place(field, gradient, index)
    return (
        f"the gradient of {field.key} must be finite, got {value} at index {index} "
        "while the cost is finite; look for sqrt, norm, division, log or pow at a point where "
        f"their slope is infinite, or for growth (rollout.health()); {NAN_HINT}"
    )


def _place(field: Valued, given: Any, index: list[int]) -> list[int]:
    """Return where a number is, as users know it: in cells by its cell."""
    return list(place_of(given, index, len(field.type.shape))) if isinstance(given, Cells) else index


def sensitivity(engine: Engine, cost: NDArray[np.float64]) -> float:
    """Return how strongly the cost feels the first States, `sum(abs(x[0] * adjoint of x[0])) / abs(cost)`.

    The last backward pass has left both in memory. Worlds whose cost is zero are left out; the largest of the
    others counts.

    Args:
        engine: What ran backward.
        cost: The cost of each world.
    """
    felt = np.zeros(engine.plan.layout.worlds)
    for state, carried in engine.lowered.carried.items():
        arrays = zip(engine.storage.arrays(state), engine.storage.arrays(carried), strict=True)
        for values, adjoints in arrays:
            product = np.abs(np.multiply(values[:, : engine.plan.layout.history], adjoints, dtype=np.float64))
            felt += product.reshape(len(felt), -1).sum(axis=1)
    known = cost != 0.0
    return float(np.max(felt[known] / np.abs(cost[known]), initial=0.0))


class NanWatch(KernelWatch):
    """Look at what each kernel wrote, and raise at the first number that is not finite.

    An infinity counts as not finite, whoever made it: one that is stored on purpose must be a large number
    instead while a rollout is debugged. Values are looked at in the forward pass proper only, not where steps
    are recomputed.

    Args:
        engine: What runs, in mode `step`.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._spots: dict[int, list[Spot]] = {}
        for field in engine.lowered.program.fields.values():
            if isinstance(field, Valued):
                _check_input(field)

    def run(self, launch: Callable[[int, int], None], stage: Stage, phase: str, t: int, s: int) -> None:
        """Launch a kernel and look at what it wrote.

        Raises:
            StateNotFiniteError: A value is not finite.
            GradientNotFiniteError: An adjoint is not finite.
        """
        backward = phase.endswith("_adj")
        if self._recomputing and not backward:
            launch(t, s)
            return
        moment = self._moment(phase, t, s)
        spots = self._spots.setdefault(id(stage), _written(stage))
        own = spots if backward or rewrites(stage) else []
        before = {spot: [a.copy() for a in self._look(spot, moment)] for spot in own}
        launch(t, s)
        for spot in spots:
            for component, array in enumerate(self._look(spot, moment)):
                bad = ~np.isfinite(array)
                bad &= self._counting(spot, moment)
                if moment.ran is not None and "world" in self._layout.axes(spot[0]):
                    bad[~moment.ran] = False
                if bad.any():
                    index = tuple(map(int, np.argwhere(bad)[0]))
                    raise self._error(stage, moment, spot, component, index, float(array[index]), before)

    def _reader(self, world: int, moment: Moment, before: dict[Spot, list[NDArray[Any]]]) -> Reader:
        """Return what reads one world's memory, as it was before the kernel where that was kept."""

        def read(ref: Ref, indices: tuple[int, ...]) -> Any:
            if ref.buffer.kind == "external":
                return _external(ref, indices)
            here = (ref.buffer, ref.time or 0)
            arrays = before[here] if here in before else self._look(here, moment)
            if "world" in self._layout.axes(ref.buffer):
                indices = (world, *indices)
            return arrays[ref.component][indices]

        return read

    def _counting(self, spot: Spot, moment: Moment) -> NDArray[np.bool_]:
        """Tell which numbers count: of a sparse field, those of active blocks."""
        place = spot[0].place
        if place is None:
            return np.array(True)
        return in_use(spot[0], self._look((place.total, _list_time(spot)), moment)[0])

    def _cell(self, spot: Spot, moment: Moment, world: int | None, space: tuple[int, ...]) -> tuple[int, ...]:
        """Return the index of an element as the user knows it."""
        place = spot[0].place
        if place is None:
            return space
        blocks = self._look((place.blocks, _list_time(spot)), moment)[0]
        return cell_at(place, blocks[world] if blocks.ndim > 1 else blocks, space)

    def _error(
        self,
        stage: Stage,
        moment: Moment,
        spot: Spot,
        component: int,
        index: tuple[int, ...],
        value: float,
        before: dict[Spot, list[NDArray[Any]]],
    ) -> Exception:
        buffer, time = spot
        backward = moment.phase.endswith("_adj")
        own_world = "world" in self._layout.axes(buffer)
        space, world = (index[1:], index[0]) if own_world else (index, None)
        place = Place(buffer, time, component, space)
        cell, culprit = self._cell(spot, moment, world, space), None
        # what worlds share is a sum over them: whose share it is must be found out
        for k in [world] if world is not None else range(min(self._layout.worlds, _MOST_WORLDS)):
            if moment.ran is None or moment.ran[k]:
                reader = self._reader(k, moment, before)
                culprit = find_culprit(stage, moment.time(k), place, reader, bool(before))
            if culprit is not None:
                world = k
                break
        where = f" at index {[*cell, *_component(buffer, component)]}" if buffer.kind != "cost" else ""
        where += f" of world {world}" if world is not None and self._layout.worlds > 1 else ""
        way = "backward" if backward else "forward"
        kernel = f"kernel {stage.name}" + (f" ({stage.where})" if stage.where else "")
        statement = _statement(stage, spot, component, culprit)
        text = (
            f"{_label(buffer)}{where} must stay finite, got {value} in the {way} pass, "
            f"{_when(moment.phase, moment.time(world), buffer, time)}: {kernel} wrote it{statement}; "
            f"{_remedy(stage, culprit, backward)}"
        )
        return GradientNotFiniteError(text) if backward else StateNotFiniteError(text)


def _list_time(spot: Spot) -> int:
    """Return the time of the list of blocks that a sparse field lies on."""
    buffer, time = spot
    assert buffer.place is not None  # noqa: S101  (it is a pool)
    if buffer.place.blocks.kind != "state":
        return 0
    return time if buffer.kind == "state" else 1


def _check_input(field: Valued) -> None:
    given = field.host_values()
    values = numbers_in(given)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        index = bad[0].tolist()
        shown = _place(field, given, index)
        name = f"the initial value of {field.label}" if isinstance(field, State) else field.label
        large = (
            "; in place of an infinity that is meant, use a large number" if _infinite(values, index) else ""
        )
        raise StateError(
            f"{name} must be finite before anything runs, got {values[tuple(index)]}"
            f"{f' at index {shown}' if shown else ''}; set other values{large}"
        )


def _infinite(values: NDArray[Any], index: list[int]) -> bool:
    return bool(np.isinf(values[tuple(index)]))


def _written(stage: Stage) -> list[Spot]:
    """Return what a stage writes that is the user's, in the order of its statements."""
    ops = (op for op in walk(stage.body) if isinstance(op, Store | Accumulate))
    spots = ((op.ref.buffer, op.ref.time or 0) for op in ops)
    return list(dict.fromkeys(s for s in spots if s[0].kind != "tape" and not s[0].hidden))


def _external(ref: Ref, indices: tuple[int, ...]) -> Any:
    """Read a Taichi field of the user's own."""
    element = ref.buffer.source[indices if indices else None]
    return element if ref.buffer.components == 1 else np.ravel(element.to_numpy())[ref.component]


def _component(buffer: Buffer, component: int) -> list[int]:
    field: Field | None = buffer.source
    if field is None or not field.type.shape:
        return []
    return [int(k) for k in np.unravel_index(component, field.type.shape)]


def _label(buffer: Buffer) -> str:
    if buffer.kind == "cost":
        return "the cost"
    initial = "the initial value of " if isinstance(buffer.source, State) and buffer.kind == "param" else ""
    return f"{'the adjoint of ' if buffer.is_adjoint else ''}{initial}{buffer.label}"


def _when(phase: str, t: int, buffer: Buffer, time: int) -> str:
    if phase.startswith("begin"):
        return "before step 0"
    if phase.startswith("terminal"):
        return f"in the terminal cost after step {t - 1}"
    at = f" (at t = {t + time})" if buffer.kind == "state" and time else ""
    return f"in step {t}{at}"


# ---- the statement ----


def _statement(stage: Stage, spot: Spot, component: int, culprit: Culprit | None) -> str:
    """Name the statement, and what it computed, as far as that can be told."""
    if culprit is not None:
        at = f" at {culprit.write.where}" if culprit.write.where else ""
        return at + _description(culprit)
    writes = [op for op in walk(stage.body) if isinstance(op, Store | Accumulate)]
    places = {
        str(op.where)
        for op in writes
        if (op.ref.buffer, op.ref.time or 0, op.ref.component) == (*spot, component) and op.where
    }
    return f" at {' or '.join(sorted(places))}" if places else ""


def _description(culprit: Culprit) -> str:
    origin, numbers = culprit.origin, [f"{x:g}" for x in culprit.arguments]
    if origin is None:
        return " as a sum of finite numbers"
    if isinstance(origin, Load):
        return f" from {origin.ref.buffer.label}, which was not finite before"
    signs = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "powi": "**"}
    if origin.fn in signs:
        return f", which computed {numbers[0]} {signs[origin.fn]} {numbers[1]}"
    return f", which computed {origin.fn}({', '.join(numbers)})"


_GROWTH = "numbers grew beyond what the precision holds: a smaller time step or a shorter horizon may help"
_DOMAIN = {
    "sqrt": "the square root of a negative number: keep its argument at or above zero, with ds.math.max",
    "rsqrt": "1 / sqrt at or below zero: keep its argument above zero",
    "log": "the logarithm of a number that is not positive: keep its argument above zero",
    "asin": "asin outside -1 .. 1: use ds.math.asin, or clamp its argument",
    "acos": "acos outside -1 .. 1: use ds.math.acos, or clamp its argument",
    "pow": "a power at a base where it is not defined: use ds.math.pow, or keep the base above zero",
    "powi": "a negative power of zero: keep the base away from zero",
}
_SLOPE = {
    "sqrt": "the slope of sqrt is infinite at zero: use ds.math.sqrt, or ds.math.norm for a length",
    "log": "the slope of log is infinite at zero: keep its argument away from zero",
    "asin": "the slope of asin is infinite at -1 and 1: use ds.math.asin",
    "acos": "the slope of acos is infinite at -1 and 1: use ds.math.acos",
    "pow": "the slope of this power is infinite at zero: use ds.math.pow, or keep the base above zero",
    "div": "a division by zero: use ds.math.safe_div, or ds.math.normalized for a direction",
}


def _remedy(stage: Stage, culprit: Culprit | None, backward: bool) -> str:
    """Say what to do, from the operation that failed or, where it is not known, from all of the stage."""
    lets = {op.result: op for op in walk(stage.body) if isinstance(op, Let)}
    if culprit is None:
        used = {let.fn for let in lets.values()}
        known = [text for fn, text in _SLOPE.items() if fn in used]
        return "; ".join(["look for growth, or for one of these", *known]) if known else _GROWTH
    origin = culprit.origin
    if isinstance(origin, Load):
        return "set or compute it anew"
    if origin is None or origin.fn not in (*_DOMAIN, "div"):
        return _GROWTH + (" (rollout.health() tells how fast gradients grow)" if backward else "")
    if origin.fn != "div":
        if backward and origin.fn in ("pow", "powi") and culprit.arguments[0] == 0.0:
            return _SLOPE["pow"]
        return _GROWTH if _overflows(origin.fn, culprit.arguments) else _DOMAIN[origin.fn]
    if culprit.arguments[1] != 0.0:
        return _GROWTH
    if backward:
        return _SLOPE[_whose_slope(origin, lets)]
    return _SLOPE["div"]


def _overflows(fn: str, arguments: tuple[float, ...]) -> bool:
    return fn in ("pow", "powi") and arguments[0] != 0.0 and (arguments[0] > 0.0 or arguments[1] % 1.0 == 0.0)


def _whose_slope(division: Let, lets: dict[Value, Let]) -> str:
    """Name the function whose derivative divides by this: sqrt and asin by a root, log by its argument."""
    divisor = division.args[1]
    if any(let.fn == "log" and let.args[0] is divisor for let in lets.values()):
        return "log"
    root = lets.get(divisor) if isinstance(divisor, Value) else None
    if root is None or root.fn != "sqrt":
        return "div"
    under = lets.get(root.args[0]) if isinstance(root.args[0], Value) else None
    if under is not None and under.fn == "sub" and _is_one(under.args[0]):
        square = lets.get(under.args[1]) if isinstance(under.args[1], Value) else None
        if square is not None and square.fn == "mul" and square.args[0] is square.args[1]:
            arcs = [let.fn for let in lets.values() if let.fn in ("asin", "acos")]
            return arcs[0] if arcs else "acos"
    return "sqrt"


def _is_one(operand: Operand) -> bool:
    return isinstance(operand, Const) and operand.value == 1.0
