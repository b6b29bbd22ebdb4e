"""Elementary functions as text in LLVM's language, to be inlined: for scalars, and for vectors of any width.

Nothing in them depends on the processor, and nothing branches but sin, cos and tan of large arguments.
Special values are C's. What is not here is left to the system's library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from diffsim.compiler.native.functions.circular import BOUND, circular
from diffsim.compiler.native.functions.exponential import exp, log, tanh
from diffsim.compiler.native.functions.power import power
from diffsim.compiler.native.functions.text import Text, Val

__all__ = ["BOUND", "NAMES", "Function", "function", "joined"]

_PURE = "nounwind willreturn memory(none)"
_DIRECT: dict[str, Callable[[Text, Val], Val]] = {"exp": exp, "log": log, "tanh": tanh}

NAMES = (*_DIRECT, "sin", "cos", "tan")  # of one argument

# largest errors, measured, with and without fused multiplications (tests/compiler/native/test_functions.py)
_ULP = {
    "exp": {"f32": 0.55, "f64": 1.2},
    "log": {"f32": 0.6, "f64": 0.85},
    "tanh": {"f32": 0.55, "f64": 1.5},
    "sin": {"f32": 0.6, "f64": 0.9},
    "cos": {"f32": 0.6, "f64": 0.9},
    "tan": {"f32": 0.6, "f64": 2.4},
}
_ULP_OF_POW = 0.55


@dataclass(frozen=True)
class Function:
    """An elementary function, as text.

    Attributes:
        symbol: What to call: `ds.tanh.f32`, `ds.tanh.v8f32`.
        definitions: The symbols that are defined, each with its text.
        declares: Lines that declare what is called.
        kept: Symbols that the compiler must not drop before it has turned loops into vectors.
        ulp: A bound of the error, in units of the last place of the result.
        domain: Where that bound holds.
    """

    symbol: str
    definitions: tuple[tuple[str, str], ...]
    declares: tuple[str, ...]
    kept: tuple[str, ...]
    ulp: float
    domain: str

    @property
    def text(self) -> str:
        """All that a module needs to call this function alone; see `joined` for several."""
        return joined([self])


def function(name: str, dtype: str, width: int = 1, lanes: Sequence[int] = ()) -> Function | None:
    """Return a function as text, or None where the system's library has to do.

    Args:
        name: One of `NAMES`, or `pow`, which has two arguments, and is here for f32 alone.
        dtype: `f32` or `f64`.
        width: Elements of a vector; 1 for a scalar.
        lanes: For sin, cos and tan of scalars: the vectors that loops around a call may be turned into. Their
            branch would keep such loops scalar otherwise; the others have none, and need no lanes.
    """
    if (name, dtype) == ("pow", "f32"):
        t, symbol = Text(dtype, width), _symbol(name, dtype, width)
        text = t.function(symbol, power(t, t.x, Val("%y", dtype)), f"alwaysinline {_PURE}", ("%x", "%y"))
        return Function(symbol, ((symbol, text),), tuple(t.declares), (), _ULP_OF_POW, "all numbers")
    if name not in NAMES or dtype not in ("f32", "f64"):
        return None
    if name in _DIRECT:
        t = Text(dtype, width)
        symbol = _symbol(name, dtype, width)
        text = t.function(symbol, _DIRECT[name](t, t.x), f"alwaysinline {_PURE}")
        return Function(symbol, ((symbol, text),), tuple(t.declares), (), _ULP[name][dtype], "all numbers")
    return _with_far(name, dtype, width, lanes if width == 1 else ())


def joined(functions: Iterable[Function]) -> str:
    """Return the text of several functions, in which nothing is defined twice."""
    definitions: dict[str, str] = {}
    declares: dict[str, None] = {}
    kept: dict[str, None] = {}
    for one in functions:
        definitions.update(one.definitions)
        declares.update(dict.fromkeys(one.declares))
        kept.update(dict.fromkeys(one.kept))
    lines = [*definitions.values(), *declares]
    if kept:
        names = ", ".join(f"ptr @{symbol}" for symbol in kept)
        lines.append(
            f'@llvm.compiler.used = appending global [{len(kept)} x ptr] [{names}], section "llvm.metadata"'
        )
    return "\n".join([*lines, ""])


def _symbol(name: str, dtype: str, width: int) -> str:
    return f"ds.{name}.{dtype if width == 1 else f'v{width}{dtype}'}"


def _with_far(name: str, dtype: str, width: int, lanes: Sequence[int]) -> Function:
    """Return sin, cos or tan, which ask the system's library beyond `BOUND`.

    With lanes, it stays a call until loops are turned into vectors; then a vector's form is called.
    """
    symbol = _symbol(name, dtype, width)
    t, far = Text(dtype, width), Text(dtype, width)
    beyond = t.compare("ogt", t.call("llvm.fabs", t.x), BOUND)
    result = t.replaced(circular(t, name, t.x), beyond, f"{symbol}.far")
    attributes, others = f"alwaysinline {_PURE}", [_with_far(name, dtype, n, ()) for n in lanes]
    if lanes:
        forms = ",".join(f"_ZGV_LLVM_N{n}v_{symbol}({_symbol(name, dtype, n)})" for n in lanes)
        attributes = f'noinline {_PURE} "vector-function-abi-variant"="{forms}"'
    own = (
        (symbol, t.function(symbol, result, attributes)),
        (
            f"{symbol}.far",
            far.function(f"{symbol}.far", far.one_by_one(f"llvm.{name}"), f"noinline cold {_PURE}"),
        ),
    )
    return Function(
        symbol,
        own + tuple(d for other in others for d in other.definitions),
        (*t.declares, *far.declares, *(d for other in others for d in other.declares)),
        tuple(other.symbol for other in others),
        _ULP[name][dtype],
        f"all numbers; beyond {BOUND:.0f} what the system's library gives",
    )
