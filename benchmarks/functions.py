"""Elementary functions written inline: nanoseconds per call and errors in ulp, beside the system's library.

`python -m benchmarks functions`. A chain hands each result to the next call, so that it counts how long one
takes from its argument to its result; loops call it for 4096 numbers in a row, as scalars and in vectors.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common import machine, print_machine, print_table, write_json
from diffsim.compiler.native.functions import BOUND, NAMES, Function, function

__all__ = ["Compiled", "chain_of", "library", "loop_over", "reference", "ulps"]

REAL: dict[str, Any] = {"f32": np.float32, "f64": np.float64}
_LLVM = {"f32": "float", "f64": "double"}
_BITS = {"f32": "i32", "f64": "i64"}
_COUNT, _ROUNDS = 4096, 20
_PLAIN = "x86-64-v2"  # the newest of its kind without fused multiplications

# where the functions are timed: ordinary arguments
_TIMED = {"exp": (-10.0, 10.0), "log": (0.1, 10.0), "tanh": (-3.0, 3.0)}
_TIMED_CIRCULAR = (-10.0, 10.0)


class Compiled:
    """Machine code of a text that defines @run, made with llvmlite.

    Args:
        text: In LLVM's language.
        level: Of optimisation.
        vectors: Turn loops into vectors.
        plain: For a processor without fused multiplications.
    """

    def __init__(self, text: str, level: int = 2, vectors: bool = True, plain: bool = False) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(text)
        module.verify()
        features = "" if plain else llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=_PLAIN if plain else llvm.get_host_cpu_name(), features=features, opt=level
        )
        options = llvm.create_pipeline_tuning_options(level)
        options.loop_vectorization = options.slp_vectorization = vectors
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
        self.text = str(module)
        self._engine = llvm.create_mcjit_compiler(module, target)
        self._engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._run = kind(self._engine.get_function_address("run"))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the function of each number."""
        y = np.empty_like(x)
        self.call(x, y, x.size)
        return y

    def call(self, x: np.ndarray, y: np.ndarray, n: int) -> None:
        """Run it on two arrays."""
        self._run(x.ctypes.data, y.ctypes.data, n, 0)

    def nanoseconds(self, x: np.ndarray, repeat: int) -> float:
        """Return the shortest processor time per number."""
        y, best = np.empty_like(x), float("inf")
        for _ in range(repeat):
            began = time.process_time()
            for _ in range(_ROUNDS):
                self.call(x, y, x.size)
            best = min(best, time.process_time() - began)
        return 1e9 * best / (_ROUNDS * x.size)


def library(name: str, dtype: str) -> Function:
    """Return the system's function of that name in the same form."""
    symbol = name + ("f" if dtype == "f32" else "")
    one = _LLVM[dtype]
    return Function(symbol, (), (f"declare {one} @{symbol}({one})",), (), 0.0, "")


def loop_over(made: Function, dtype: str, width: int = 1) -> str:
    """Return the text of y[i] = f(x[i]), in steps of the function's width."""
    one = _LLVM[dtype]
    each = one if width == 1 else f"<{width} x {one}>"
    return f"""{made.text}
define void @run(ptr noalias %x, ptr noalias %y, i64 %n, i64 %zero) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %from = getelementptr {one}, ptr %x, i64 %i
  %value = load {each}, ptr %from, align 4
  %result = call {each} @{made.symbol}({each} %value)
  %to = getelementptr {one}, ptr %y, i64 %i
  store {each} %result, ptr %to, align 4
  %next = add i64 %i, {width}
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


def chain_of(made: Function, dtype: str) -> str:
    """Return the text of the same loop, in which each argument has to wait for the result before it."""
    one, bits = _LLVM[dtype], _BITS[dtype]
    mask = "%zero" if bits == "i64" else "%mask"
    return f"""{made.text}
define void @run(ptr noalias %x, ptr noalias %y, i64 %n, i64 %zero) {{
entry:
  %mask = trunc i64 %zero to i32
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %before = phi {one} [0.0, %entry], [%result, %loop]
  %from = getelementptr {one}, ptr %x, i64 %i
  %loaded = load {bits}, ptr %from
  %known = bitcast {one} %before to {bits}
  %nothing = and {bits} %known, {mask}
  %both = or {bits} %loaded, %nothing
  %value = bitcast {bits} %both to {one}
  %result = call {one} @{made.symbol}({one} %value)
  %to = getelementptr {one}, ptr %y, i64 %i
  store {one} %result, ptr %to
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


def reference(name: str, x: np.ndarray) -> np.ndarray:
    """Return the values in more digits than the arguments have."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
        found: np.ndarray = getattr(np, name)(wide)
    return found


def ulps(got: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return errors in units of the last place of the true value; infinite where only one is special.

    Args:
        got: Values of f32 or f64.
        true: The same with more digits.
    """
    digits, least = (24, -149) if got.dtype == np.float32 else (53, -1074)
    with np.errstate(all="ignore"):
        rounded = true.astype(got.dtype)
        exponent = np.frexp(true)[1]
        unit = np.ldexp(np.ones_like(true), np.maximum(exponent - digits, least))
        error = np.abs(got.astype(true.dtype) - true) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    special = ~(np.isfinite(got) & np.isfinite(rounded))
    largest = np.where(np.isinf(got) & (np.abs(rounded) == np.finfo(got.dtype).max), 1.0, np.inf)
    return np.where(special, np.where(same, 0.0, largest), np.where(special, 0.0, error))


def measured_error(name: str, dtype: str, run: Compiled) -> float:
    """Return the largest error at arguments of every size within the function's own domain."""
    if dtype == "f32":
        x = np.arange(0, 2**32, 4099, dtype=np.int64).astype(np.uint32).view(np.float32)
    else:
        steps = np.arange(0, 2**31 - 1, 4099 * 2, dtype=np.int64)
        x = (steps * (2**33 + 12345)).view(np.float64)
        x = np.concatenate([x, np.linspace(-30, 30, 200_001)])
    if name not in _TIMED:
        x = x[np.abs(x) <= BOUND]
    return float(ulps(run(x), reference(name, x)).max())


def measure(name: str, dtype: str, repeat: int) -> dict[str, Any]:
    """Return times and errors of one function."""
    low, high = _TIMED.get(name, _TIMED_CIRCULAR)
    x = np.random.default_rng(1).uniform(low, high, _COUNT).astype(REAL[dtype])
    own, theirs = function(name, dtype), library(name, dtype)
    in_loops = function(name, dtype, lanes=(8, 4) if dtype == "f32" else (4, 2))
    assert own is not None and in_loops is not None  # noqa: PT018  (it has a name of NAMES)
    scalar = Compiled(loop_over(own, dtype), vectors=False)
    found = {
        "name": name,
        "dtype": dtype,
        "ulp": own.ulp,
        "measured ulp": measured_error(name, dtype, scalar),
        "chain": Compiled(chain_of(own, dtype), vectors=False).nanoseconds(x, repeat),
        "loop": scalar.nanoseconds(x, repeat),
        "vectors": Compiled(loop_over(in_loops, dtype)).nanoseconds(x, repeat),
        "library's chain": Compiled(chain_of(theirs, dtype)).nanoseconds(x, repeat),
        "library's loop": Compiled(loop_over(theirs, dtype)).nanoseconds(x, repeat),
    }
    for width in (4, 8, 16) if dtype == "f32" else (2, 4, 8):
        wide = function(name, dtype, width)
        assert wide is not None
        run = Compiled(loop_over(wide, dtype, width))
        found[f"width {width}"] = run.nanoseconds(x, repeat)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Measure all functions and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks functions", description=__doc__)
    parser.add_argument("--repeat", type=int, default=20, help="times to run each (20)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    options = parser.parse_args(words)
    try:
        import llvmlite  # noqa: F401
    except ModuleNotFoundError:
        print("llvmlite must be installed to compile the functions, got none; pip install llvmlite")
        return 1
    where = machine()
    print_machine(where)
    rows = [measure(name, dtype, options.repeat) for dtype in ("f32", "f64") for name in NAMES]
    times = ("chain", "loop", "vectors", "library's chain", "library's loop")
    for dtype in ("f32", "f64"):
        mine = [row for row in rows if row["dtype"] == dtype]
        widths = [key for key in mine[0] if key.startswith("width")]
        table = [
            [row["name"], f"{row['ulp']:.2f}", f"{row['measured ulp']:.2f}"]
            + [f"{row[key]:.2f}" for key in (*times, *widths)]
            for row in mine
        ]
        print(f"\n{dtype}, times in ns per number")
        print_table(["", "at most ulp", "measured", *times, *widths], table)
    write_json(options.json, {"machine": where, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
