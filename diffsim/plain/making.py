"""Making plain Python functions of kernels and Taichi functions, by their text."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from diffsim import _taichi
from diffsim.errors import TraceError
from diffsim.language import draws
from diffsim.language.derivatives import Derivative
from diffsim.language.sources import source_of
from diffsim.language.types import ElementType
from diffsim.math import eigen, linear, svd
from diffsim.plain import operators
from diffsim.plain.expressions import PLAIN, Asked
from diffsim.plain.functions import STAND_INS, key_of
from diffsim.plain.naming import MISSING, Names, by_reference, is_template
from diffsim.plain.places import Places
from diffsim.plain.rewriting import rewritten
from diffsim.plain.scalars import named_type, real
from diffsim.plain.values import Record, Values
from diffsim.plain.vectors import Vec, cast, vector

__all__ = ["Plain", "definition"]

ti = _taichi.ti
_LIBRARIES = ("taichi", "numpy", "scipy", "torch", "jax", "diffsim", "builtins", "math")
_DECOMPOSITIONS: dict[Any, dict[int, Any]] = {
    ti.svd: {2: svd.oriented_svd2, 3: svd.svd3},
    ti.polar_decompose: {2: svd.oriented_polar2, 3: svd.polar3},
    ti.sym_eig: {2: eigen.descending_eigh2, 3: eigen.eigh3},
    ti.eig: {2: eigen.eig2},
    ti.solve: {2: linear.solve, 3: linear.solve},
}


class _Made(NamedTuple):
    """A function in plain Python, and what it was made of, which so stays alive."""

    function: Callable[..., Any]
    of: Any


class Plain(Values, Places):
    """What functions in plain Python know as `__plain__`.

    Args:
        memory: What fields hold; another one in each world.
        outside: Taichi fields that the user made by hand.

    Attributes:
        table: What stands for functions, by their place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table: list[Callable[..., Any]] = []
        self._places: dict[int, int] = {}
        self._stand_ins = {**STAND_INS, **self._own()}
        self._made: dict[Any, _Made] = {}
        self._found: dict[Any, _Made] = {}

    # ---- functions of kernels ----

    def kernel(self, function: Callable[..., Any], owner: Any, tracked: bool) -> Callable[..., Any]:
        """Return a kernel in plain Python.

        Args:
            function: The kernel's Python function.
            owner: Whose method it is; None for none.
            tracked: Note where calls stand, for the random numbers below.

        Raises:
            TraceError: Its text cannot be read.
        """
        return self._make(function, owner, True, tracked)

    def fn(self, found: Any, *where: str) -> Any:
        """Return what stands for a function that is called, or the function itself."""
        if isinstance(found, types.MethodType) and isinstance(found.__self__, Vec | Record):
            return found
        key = (id(getattr(found, "__func__", found)), id(getattr(found, "__self__", None)), bool(where))
        known = self._found.get(key)
        if known is None:
            made = self._standing(found, bool(where))
            known = self._found[key] = _Made(_without(made) if self.references(found) else made, found)
        if where and getattr(known.function, "__tracked__", False):
            return functools.partial(known.function, __site__=where[0])
        return known.function

    def referring(self, found: Any, *where: str) -> Any:
        """Return what stands for a function that assigns to parameters: it returns those too."""
        made = self._standing(found, bool(where))
        return functools.partial(made, __site__=where[0]) if where else made

    def _standing(self, found: Any, tracked: bool) -> Any:
        found = _taichi.at_home(found)
        if (stands := self._stand_ins.get(key_of(found))) is not None:
            return stands[1]
        if isinstance(found, Derivative):
            return self._derivative(found)
        if isinstance(found, ElementType) or _taichi.is_vector_type(found):
            return functools.partial(_constructed, found)
        if _taichi.struct_members(found):
            return functools.partial(self._record, found)
        if _taichi.is_scalar_type(found) or (isinstance(found, type) and _taichi.dtype_name(found)):
            return lambda x=0: cast(operators.valued(x), named_type(found))
        taichi = _taichi.taichi_function(found)
        if taichi is not None:
            return self._bound(*taichi, True, tracked)
        owner = getattr(found, "__self__", None)
        if _taichi.is_a(owner, "Matrix"):
            return lambda *args: getattr(operators.valued(owner), found.__name__)(*args)
        function = getattr(found, "__func__", found)
        if isinstance(function, types.FunctionType) and not _of_library(function):
            try:
                return self._bound(function, owner, False, tracked)
            except (TraceError, SyntaxError):
                return found
        return found

    def _bound(self, function: Any, owner: Any, typed: bool, tracked: bool) -> Any:
        made = self._make(function, owner, typed, tracked)
        if owner is None:
            return made
        bound = functools.partial(made, owner)
        bound.__tracked__ = getattr(made, "__tracked__", False)  # type: ignore[attr-defined]
        return bound

    def references(self, found: Any) -> tuple[int, ...]:
        """Return which parameters of a Taichi function, self left out, it assigns to by reference."""
        taichi = None if found is MISSING else _taichi.taichi_function(found)
        if taichi is None:
            return ()
        return _references(taichi[0])

    def _make(self, function: Any, owner: Any, typed: bool, tracked: bool) -> Callable[..., Any]:
        key = (id(function), id(type(owner)), tracked)
        known = self._made.get(key)
        if known is None:
            known = self._made[key] = _Made(self._compiled(function, owner, typed, tracked), function)
        return known.function

    def _compiled(self, function: Any, owner: Any, typed: bool, tracked: bool) -> Callable[..., Any]:
        node, file, _ = _parsed(function)
        names = Names(function, node, owner)
        parameters = inspect.signature(function).parameters
        taken = [n for n, p in parameters.items() if not is_template(p.annotation) and n != "self"]
        asked = Asked(
            names.resolve,
            lambda found: found is ti.static,
            lambda found: any(found is loop for loop in (ti.static, zip, enumerate, list)),
            self._stand_in,
            lambda found: found is draws.random or found is draws.randn,
            self.references,
            typed,
            tuple(taken) if typed else (),
            by_reference(function, node) if typed else (),
            tracked,
        )
        made = _executed(rewritten(node, asked), file, function, self)
        made.__tracked__ = tracked  # type: ignore[attr-defined]
        return made

    def _stand_in(self, found: Any) -> int | None:
        found = _taichi.at_home(found)
        stands = self._stand_ins.get(key_of(found))
        if stands is None:
            return None
        key = key_of(found)
        if key not in self._places:
            self._places[key] = len(self.table)
            self.table.append(stands[1])
        return self._places[key]

    # ---- what needs a memory, or text of its own ----

    def _own(self) -> dict[int, tuple[Any, Callable[..., Any]]]:
        pairs: list[tuple[Any, Callable[..., Any]]] = [
            (ti.grouped, self.grouped),
            (ti.is_active, self.is_active),
            (ti.activate, self.activate),
            (ti.length, self.length),
            (draws.random, functools.partial(self.draw, draws.UNIFORM)),
            (draws.randn, functools.partial(self.draw, draws.NORMAL)),
            (builtins.len, self.count),
        ]
        pairs += [(f, functools.partial(self._decomposed, sizes)) for f, sizes in _DECOMPOSITIONS.items()]
        return {key_of(obj): (obj, made) for obj, made in pairs}

    def _decomposed(self, sizes: dict[int, Any], matrix: Any, *others: Any, **_: Any) -> Any:
        given = operators.valued(matrix)
        vectors = [operators.valued(o) for o in others if isinstance(o, Vec)]
        return self.fn(sizes[given.shape[0]])(given, *vectors)

    def _record(self, kind: Any, *given: Any, **named: Any) -> Record:
        members = _taichi.struct_members(kind)
        values = {**dict(zip(members, given, strict=False)), **named}
        parts = {name: self._part(member, values.get(name)) for name, member in members.items()}
        return Record(parts, self.methods(kind))

    def methods(self, kind: Any) -> dict[str, Callable[..., Any]]:
        """Return the methods of a struct type in plain Python."""
        return {name: self.fn(method) for name, method in _taichi.struct_methods(kind).items()}

    def _part(self, kind: Any, value: Any) -> Any:
        if _taichi.struct_members(kind):
            return self._record(kind) if value is None else value.copy()
        if _taichi.is_vector_type(kind):
            return _constructed(kind, *([0] if value is None else [value]))
        return cast(0 if value is None else value, named_type(kind))


def _without(function: Any) -> Any:
    """Return a function that returns its value alone, not what it has made of its parameters."""
    return lambda *given, **named: function(*given, **named)[0]


@functools.lru_cache(maxsize=1024)
def _references(function: Any) -> tuple[int, ...]:
    names = by_reference(function, _parsed(function)[0])
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    return tuple(parameters.index(name) for name in names)


def _of_library(function: Any) -> bool:
    return str(function.__module__).split(".")[0] in _LIBRARIES and not str(function.__module__).startswith(
        ("diffsim.kernels", "diffsim.demos", "diffsim.control", "diffsim.particles")
    )


def _constructed(kind: Any, *given: Any) -> Any:
    """Make a vector or matrix of a type, of numbers and of vectors put together."""
    if isinstance(kind, ElementType):
        shape, name = kind.shape, "i32" if kind.integer else real()
    else:
        shape = (kind.n,) if kind.ndim == 1 else (kind.n, kind.m)
        name = named_type(kind.dtype)
    entries: list[Any] = []
    for argument in given:
        value = operators.valued(argument)
        entries += [cast(x, name) for x in (list(value.ravel()) if isinstance(value, Vec) else [value])]
    if not shape:
        return entries[0]
    size = functools.reduce(lambda a, b: a * b, shape)
    entries *= size if len(entries) == 1 else 1
    if len(entries) != size:
        raise ValueError(f"{kind} must get {size} components, got {len(entries)}")
    return vector(entries, name).reshape(shape)


@functools.lru_cache(maxsize=1024)
def _text(function: Any) -> tuple[str, str, int, int]:
    lines, start, file = source_of(function)
    return textwrap.dedent("".join(lines)), file, start, len(lines[0]) - len(lines[0].lstrip())


def _parsed(function: Any) -> tuple[ast.FunctionDef, str, int]:
    """Return a function's definition with the positions of its file, that file, and its first line.

    Raises:
        TraceError: There is no text, or no definition in it.
    """
    text, _, start, indent = _text(function)
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TraceError(
            f"{function.__name__} must be a plain function definition to run as Python, got "
            f"{type(node).__name__}; write it with def"
        )
    ast.increment_lineno(node, start - 1)
    for inner in ast.walk(node):
        if hasattr(inner, "col_offset"):
            inner.col_offset += indent
            inner.end_col_offset += indent  # type: ignore[attr-defined]
    return node, function.__code__.co_filename, start


def definition(function: Any) -> ast.FunctionDef:
    """Return the definition of a function.

    Raises:
        TraceError: Its text cannot be read.
    """
    return _parsed(function)[0]


def _executed(node: ast.FunctionDef, file: str, function: Any, plain: Plain) -> Callable[..., Any]:
    """Compile a definition under its file's name, with the names that the function sees."""
    code = function.__code__
    parameters = [ast.arg(name) for name in (PLAIN, *code.co_freevars)]
    around = ast.FunctionDef("around", ast.arguments([], parameters, None, [], [], None, []), [node], [])
    ast.copy_location(around, node)
    module = ast.fix_missing_locations(ast.Module([around], []))
    flags = code.co_flags & __import__("__future__").annotations.compiler_flag
    outer = compile(module, file, "exec", flags, dont_inherit=True)
    inner = _code_in(_code_in(outer, "around"), node.name)
    own = types.CellType(plain)
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    closure = tuple(own if name == PLAIN else cells[name] for name in inner.co_freevars)
    made = types.FunctionType(inner, function.__globals__, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = {**(function.__kwdefaults__ or {}), "__site__": ""}
    return made


def _code_in(code: types.CodeType, name: str) -> types.CodeType:
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
