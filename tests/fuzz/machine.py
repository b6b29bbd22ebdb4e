"""Running texts of kernels as machine code, by Taichi, and by the second reading; comparing what is left."""

from __future__ import annotations

import ctypes
import math
import random
from typing import Any

import numpy as np
from fuzz.evaluator import Number, Reading, Unsure
from fuzz.texts import LENGTH, REALS, SMALL, WHOLES, Text

from diffsim import _llvm, _taichi
from diffsim.compiler.native.translate import Place, translate

__all__ = [
    "ARGUMENTS",
    "NUMPY",
    "arrays",
    "by_taichi",
    "compared",
    "disagreement",
    "machine",
    "numbers",
    "run",
]

KINDS = REALS + WHOLES + SMALL
NUMPY = {k: f"{'float' if k[0] == 'f' else 'uint' if k[0] == 'u' else 'int'}{k[1:]}" for k in KINDS}
ARGUMENTS = (3, 5)
Arrays = dict[str, np.ndarray[Any, Any]]


def arrays(seed: int, rows: int = 1, plain: bool = False) -> Arrays:
    """Make the inputs and outputs of every type."""
    rng, made = random.Random(seed), {}
    for kind in KINDS:
        dtype = np.dtype(NUMPY[kind])
        for prefix in "ao":
            if kind in REALS:
                special = [] if plain else [math.nan, math.inf, -math.inf]
                values = [
                    rng.choice([*special, 0.0, -1.0]) if rng.random() < 0.1 else rng.uniform(-2, 2)
                    for _ in range(rows * LENGTH)
                ]
            else:
                facts = np.iinfo(dtype)
                low, high = int(facts.min), int(facts.max)
                ends = [low, high, 0, 1, high - 1] if rng.random() < 0.3 else [0, 1]
                values = [
                    rng.choice(ends) if rng.random() < 0.3 else rng.randint(max(low, -9), 9)
                    for _ in range(rows * LENGTH)
                ]
            made[f"{prefix}_{kind}"] = np.array(values, dtype).reshape(rows, LENGTH)
    return made


def machine(source: str, found: Arrays, level: int = 1, shared: bool = False, real: str = "f64") -> Any:
    """Compile a text for arrays like these, and return what runs it on such arrays."""
    used = {name: a for name, a in found.items() if name in source}
    places = {
        name: Place(_kind(name), tuple(s // a.itemsize for s in a.strides), a.size, shared)
        for name, a in used.items()
    }
    image = _llvm.compile_object(translate(source, real, places, "kernel"), level)
    code = _llvm.load(image, "kernel")
    count = source.split("\n", 1)[0].count("ti.i32")
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int] * count, ctypes.c_void_p)(code.address)

    def launch(given: Arrays, *args: int) -> None:
        table = (ctypes.c_void_p * len(used))(*(given[name].ctypes.data for name in used))
        function(*(args or ARGUMENTS), table)

    launch.owner = code  # type: ignore[attr-defined]
    return launch


def _kind(name: str) -> str:
    return name.rpartition("_")[2]


def run(source: str, found: Arrays, **options: Any) -> Arrays:
    """Return what a text leaves as machine code."""
    copies = {name: a.copy() for name, a in found.items()}
    machine(source, copies, **options)(copies)
    return copies


def by_taichi(source: str, found: Arrays) -> Arrays:
    """Return what a text leaves, compiled by Taichi."""
    ti, builder, fields = _taichi.ti, _taichi.begin_tree(), {}
    for name, a in found.items():
        if name in source:
            fields[name] = ti.field(getattr(ti, _kind(name)))
            builder.dense(ti.ij, a.shape).place(fields[name])
    tree = _taichi.make_tree(builder)
    kinds = [_kind(name).replace("u", "i") for name in fields]  # as wide; a copy by Taichi compiles for each
    shapes = [found[name].shape for name in fields]
    views = dict(zip(fields, _taichi.address_views(list(fields.values()), shapes, kinds), strict=True))
    for name, view in views.items():
        view[...] = found[name].view(view.dtype)
    kernel = _taichi.build_kernel(source, "kernel", fields)
    with _taichi.default_real("f64"):
        kernel(*ARGUMENTS)
    _taichi.wait()
    left = found | {name: view.view(found[name].dtype).copy() for name, view in views.items()}
    _taichi.forget_kernel(kernel)
    _taichi.destroy_tree(tree)
    return left


# ---- the second reading ----


def numbers(found: Arrays) -> dict[str, tuple[str, dict[tuple[int, ...], Number]]]:
    """Return arrays as the second reading takes them."""
    return {
        name: (_kind(name), {k: Number(_kind(name), v.item()) for k, v in np.ndenumerate(a)})
        for name, a in found.items()
    }


def compared(left: Arrays, reading: Reading) -> str:
    """Say where arrays are not what the second reading found; empty where they are."""
    for name, (kind, wanted) in reading.arrays.items():
        for key, number in wanted.items():
            got = left[name][key].item()
            if not _agrees(got, number):
                return f"{name}{list(key)} is {got!r}, not {number}"
    return ""


def _agrees(got: Any, number: Number) -> bool:
    if number.dtype[0] != "f":
        return bool(got == number.value)
    if math.isinf(number.error):
        return True
    if number.error < 0 or not math.isfinite(number.value):
        return not math.isfinite(got)
    return bool(abs(got - number.value) <= number.error)


def disagreement(seed: int) -> str | None:
    """Say how machine code of a random text differs from its second reading; None where that is unsure."""
    text = Text(seed)
    source, found = text.source(), arrays(seed)
    reading = Reading("f64", numbers(found))
    try:
        reading.run(source, n=ARGUMENTS[0], t=ARGUMENTS[1])
    except Unsure:
        return None
    return compared(run(source, found, level=1 + seed % 2), reading)
