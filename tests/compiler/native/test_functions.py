"""Elementary functions as text: errors in ulp, special values, vectors, loops turned into vectors."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from diffsim.compiler.native.functions import BOUND, NAMES, Function, function, joined

pytest.importorskip("llvmlite")

FULL = bool(os.environ.get("DIFFSIM_FULL"))  # all numbers of f32: minutes
CIRCULAR = ("sin", "cos", "tan")
EACH = pytest.mark.parametrize("name", NAMES)
# without fused multiplications too, where a processor may lack them
FUSED = [True, False] if platform.machine() in ("x86_64", "AMD64") else [True]
INF, NAN = float("inf"), float("nan")


def made(name: str, dtype: str, width: int = 1, lanes: tuple[int, ...] = ()) -> Function:
    found = function(name, dtype, width, lanes)
    assert found is not None
    return found


@cache
def compiled(
    name: str, dtype: str, width: int = 1, lanes: tuple[int, ...] = (), fused: bool = True, level: int = 1
) -> Any:
    """y[i] = f(x[i]) as machine code, in steps of the width."""
    from benchmarks.functions import Compiled, loop_over

    text = loop_over(made(name, dtype, width, lanes), dtype, width)
    return Compiled(text, level=level, vectors=bool(lanes) or level > 1, plain=not fused)


def arguments(name: str, dtype: str) -> Iterator[np.ndarray]:
    """Numbers of all sizes, and those where the function is hard, in pieces."""
    if dtype == "f32":
        yield np.arange(0, 1 << 32, 4099, dtype=np.int64).astype(np.uint32).view(np.float32)
        return
    rng, count = np.random.default_rng(3), 2_000_000 if FULL else 20_000
    yield rng.integers(-(2**63), 2**63 - 1, 2 * count, dtype=np.int64).view(np.float64)
    yield rng.uniform(-20, 20, count)
    yield rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-20, 0, count)
    if name in CIRCULAR:  # next to quarter turns, where nearly all digits cancel
        turns = np.concatenate([np.arange(1, count), rng.integers(1, int(0.63 * BOUND), count)])
        near = turns * (np.pi / 2)
        yield np.concatenate([near, np.nextafter(near, 0), np.nextafter(near, np.inf)])
    elif name == "log":
        yield 1 + rng.choice([-1, 1], count) * 10.0 ** rng.uniform(-16, -0.3, count)
        yield rng.uniform(0.5, 2.0, count)
    elif name == "exp":
        yield rng.uniform(-746, -700, count)
        yield rng.uniform(700, 710, count)
    else:
        yield rng.uniform(0.4, 0.7, count)


@EACH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_the_error_is_within_the_bound(name: str, dtype: str) -> None:
    from benchmarks.functions import reference, ulps

    if dtype == "f64" and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("nothing here has more digits than f64")
    own = made(name, dtype)
    for x in arguments(name, dtype):
        if name in CIRCULAR:
            x = x[~(np.abs(x) > BOUND)]
        true = reference(name, x)
        for fused in FUSED:
            error = ulps(compiled(name, dtype, fused=fused)(x), true)
            worst = int(np.argmax(error))
            assert error[worst] <= own.ulp, (x[worst], true[worst], fused)


# The largest error of the form for f32 at numbers that follow one another, told by the form for f64, whose
# own errors are 2^-28 of an ulp of f32. Where the two round alike it is 0, for infinities and no numbers too.
_ABS = Function("", (), ("declare double @llvm.fabs.f64(double)",), (), 0.0, "")
_SWEEP = """
define void @run(ptr %first, ptr %worst, i64 %n, i64 %zero) {
entry:
  %begin = load i32, ptr %first
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %most = phi i64 [0, %entry], [%more, %loop]
  %low = trunc i64 %i to i32
  %bits = add i32 %begin, %low
  %x = bitcast i32 %bits to float
  %y = call float @ds.NAME.f32(float %x)
  %wide = fpext float %x to double
  %true = call double @ds.NAME.f64(double %wide)
  %rounded = fptrunc double %true to float
  %same = fcmp ueq float %y, %rounded
  %none = fcmp uno float %y, 0.0
  %neither = fcmp uno double %true, 0.0
  %odd = xor i1 %none, %neither
  %got = fpext float %y to double
  %difference = fsub double %got, %true
  %size = call double @llvm.fabs.f64(double %difference)
  %all = bitcast double %true to i64
  %exponent = and i64 %all, 9218868437227405312
  %power = bitcast i64 %exponent to double
  %unit = fmul double %power, 0x3E80000000000000
  %tiny = fcmp olt double %unit, 0x36A0000000000000
  %ulp = select i1 %tiny, double 0x36A0000000000000, double %unit
  %error = fdiv double %size, %ulp
  %known = select i1 %same, double 0.0, double %error
  %strict = select i1 %odd, double 0x7FF0000000000000, double %known
  %size.bits = bitcast double %strict to i64
  %larger = icmp ugt i64 %size.bits, %most
  %more = select i1 %larger, i64 %size.bits, i64 %most
  %next = add i64 %i, 1
  %again = icmp ult i64 %next, %n
  br i1 %again, label %loop, label %end
end:
  store i64 %more, ptr %worst
  ret void
}
"""


@EACH
@pytest.mark.skipif(not FULL, reason="DIFFSIM_FULL=1 looks at all 2^32 numbers")
@pytest.mark.parametrize("fused", FUSED)
def test_the_error_is_within_the_bound_at_all_numbers_of_f32(name: str, fused: bool) -> None:
    from benchmarks.functions import Compiled

    lanes = (4,) if name in CIRCULAR else ()
    own = made(name, "f32", lanes=lanes)
    text = joined([own, made(name, "f64", lanes=lanes), _ABS]) + _SWEEP.replace("NAME", name)
    run = Compiled(text, plain=not fused)
    count = int(np.float32(BOUND).view(np.uint32)) + 1 if name in CIRCULAR else 1 << 31
    worst = np.zeros(2)
    for sign in (0, 1):
        run.call(np.array([sign << 31], dtype=np.uint32), worst[sign:], count)
    assert 0.5 <= worst.max() <= own.ulp


SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e4, INF), (-1e4, 0.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1.0, NAN), (-1e-40, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (30.0, 1.0), (1e-40, 1e-40)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (-1e-40, -1e-40)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (1e-40, 1.0)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (-1e-40, -1e-40)],
}


@EACH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_special_values_are_those_of_c(name: str, dtype: str) -> None:
    real = np.float32 if dtype == "f32" else np.float64
    x, y = np.array([*SPECIAL[name], (NAN, NAN), (-NAN, NAN)], dtype=real).T.copy()
    for fused in FUSED:
        got = compiled(name, dtype, fused=fused)(x)
        np.testing.assert_array_equal(got, y)
        np.testing.assert_array_equal(np.signbit(got)[y == 0], np.signbit(y)[y == 0])


def test_exp_reaches_the_smallest_and_the_largest_numbers() -> None:
    for dtype, x in (("f32", [-103.97, -87.5, 88.72]), ("f64", [-745.13, -708.5, 709.78])):
        real = np.float32 if dtype == "f32" else np.float64
        given = np.array(x, dtype=real)
        want = np.exp(given.astype(np.longdouble)).astype(real)
        np.testing.assert_allclose(compiled("exp", dtype)(given), want, rtol=2e-7)
        assert 0 < want[0] < np.finfo(real).tiny < np.finfo(real).max / 2 < want[2]


@EACH
@pytest.mark.parametrize(
    ("dtype", "width"), [("f32", 4), ("f32", 8), ("f32", 16), ("f64", 2), ("f64", 4), ("f64", 8)]
)
def test_a_vector_holds_what_scalars_give(name: str, dtype: str, width: int) -> None:
    real = np.float32 if dtype == "f32" else np.float64
    x = np.concatenate([np.linspace(-9, 9, 48), [0.0, -0.0, INF, -INF, NAN, 1e30, -1e30, 3 * BOUND]])
    mixed = np.random.default_rng(2).uniform(-50, 50, 1600)
    mixed[::16] = 1e10  # its neighbours in a vector must not notice
    x = np.concatenate([x, x[::-1], np.logspace(-30, 9, 48), mixed]).astype(real)
    np.testing.assert_array_equal(compiled(name, dtype, width)(x), compiled(name, dtype)(x))


@pytest.mark.parametrize("name", CIRCULAR)
@pytest.mark.parametrize(("dtype", "width"), [("f32", 1), ("f64", 1), ("f64", 4)])
def test_large_arguments_are_left_to_the_library(name: str, dtype: str, width: int) -> None:
    real = np.float32 if dtype == "f32" else np.float64
    x = np.array([BOUND, 2 * BOUND, -1e10, 1e22, 1.0, -3e30, 1e38, 2.0], dtype=real)
    want = getattr(np, name)(x.astype(np.longdouble))
    np.testing.assert_allclose(compiled(name, dtype, width)(x), want, rtol=3e-7 if dtype == "f32" else 5e-16)


@EACH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_loops_around_a_call_are_turned_into_vectors(name: str, dtype: str) -> None:
    run = compiled(name, dtype, lanes=(2, 4) if name in CIRCULAR else (), level=2)
    lines = run.text.split("@run")[1].splitlines()
    assert any("fmul <" in line or "call <" in line or "@llvm.fmuladd.v" in line for line in lines)
    x = np.linspace(-5, 5, 37, dtype=np.float32 if dtype == "f32" else np.float64)
    np.testing.assert_array_equal(run(x), compiled(name, dtype)(x))


def test_without_lanes_a_branch_keeps_loops_scalar() -> None:
    text = compiled("sin", "f64", level=2).text
    assert "vector.body" not in text and "vector.body" in compiled("exp", "f64", level=2).text  # noqa: PT018


def powers(x: np.ndarray, y: np.ndarray, width: int = 1) -> np.ndarray:
    """x^y as machine code: pairs lie one after the other, in steps of the width."""
    from benchmarks.functions import Compiled

    kind, own = "float" if width == 1 else f"<{width} x float>", made("pow", "f32", width)
    text = f"""{own.text}
define void @run(ptr %x, ptr %z, i64 %n, i64 %zero) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %x.at = getelementptr float, ptr %x, i64 %i
  %y.i = add i64 %i, %n
  %y.at = getelementptr float, ptr %x, i64 %y.i
  %a = load {kind}, ptr %x.at, align 4
  %b = load {kind}, ptr %y.at, align 4
  %c = call {kind} @{own.symbol}({kind} %a, {kind} %b)
  %z.at = getelementptr float, ptr %z, i64 %i
  store {kind} %c, ptr %z.at, align 4
  %next = add i64 %i, {width}
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""
    z = np.empty_like(x)
    Compiled(text, level=1).call(np.concatenate([x, y]), z, x.size)
    return z


@pytest.mark.parametrize("width", [1, 8])
def test_powers_are_within_the_bound_and_as_special_as_those_of_c(width: int) -> None:
    from benchmarks.functions import ulps

    rng, real = np.random.default_rng(4), np.float32
    special = np.array([0, 1, 2, 3, 0.5, 2.5, 1e30, 16777216, 1e-40, INF, NAN], dtype=real)
    special = np.concatenate([special, -special])
    pairs = np.array([(a, b) for a in special for b in special] * 2, dtype=real).T
    n = 200_000
    x = np.concatenate([pairs[0], 2.0 ** rng.uniform(-149, 128, n), rng.uniform(0.9, 1.1, n)])
    y = np.concatenate([pairs[1], rng.uniform(-3, 3, n), rng.uniform(-800, 800, n)])
    x, y = x.astype(real), y.astype(real)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64))
    got = powers(x, y, width)
    error = ulps(got, want)
    worst = int(np.argmax(error))
    assert error[worst] <= made("pow", "f32").ulp, (x[worst], y[worst], got[worst], want[worst])
    first = pairs.shape[1]
    numbers = ~np.isnan(want[:first])
    np.testing.assert_array_equal(np.signbit(got[:first])[numbers], np.signbit(want[:first])[numbers])


def test_several_functions_make_one_text() -> None:
    import llvmlite.binding as llvm

    functions = [made(n, d, w) for n in NAMES for d in ("f32", "f64") for w in (1, 4)]
    functions += [made("sin", "f64", 1, (4, 8)), made("cos", "f64", 1, (4, 8)), made("pow", "f32")]
    module = llvm.parse_assembly(joined(functions))
    module.verify()
    names = [f.name for f in module.functions]
    assert set(names) >= {f.symbol for f in functions}
    assert len(names) == len(set(names))


def test_the_benchmark_measures_one() -> None:
    from benchmarks.functions import measure

    found = measure("tanh", "f32", repeat=1)
    assert 0.5 <= found["measured ulp"] <= found["ulp"]
    assert all(value > 0 for key, value in found.items() if key not in ("name", "dtype"))


@pytest.mark.parametrize(("name", "dtype"), [("sqrt", "f64"), ("pow", "f64"), ("exp", "f16")])
def test_what_is_not_here_is_none(name: str, dtype: str) -> None:
    assert function(name, dtype) is None
