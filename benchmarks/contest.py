"""What `wave`, `mpm` and `compilers` share: contenders in processes, compared and then timed in turns."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.common import machine, print_machine, print_table, write_json
from benchmarks.compiled import compiler
from benchmarks.contenders import Arrays, Contender, Program, gradient_error

LABELS = {"plain": "plain Taichi", "jax": "JAX scan", "c": "C", "warp": "Warp graph"}
COMPILERS = ("native", "taichi")  # of diffsim
MODES = ("step", "chunk", "auto")  # of diffsim, beside `fused`
MEASURES = ("value", "value_and_grad")
ROW_HEAD = ["", "", "first s", "forward ms", "both ms", "least ms", "forward", "both"]
_BATCH_SECONDS = 0.2  # a call that is shorter is repeated within a round
_REASON = 240  # characters of why somebody can't run


@dataclass(frozen=True)
class Way:
    """A way to run diffsim.

    Attributes:
        arch: The backend.
        compiler: What makes machine code on a CPU.
        mode: A mode, where it makes the way.
    """

    arch: str = "cpu"
    compiler: str = "auto"
    mode: str = ""


WAYS = {
    "cpu": Way(),
    "native": Way(compiler="native"),
    "taichi": Way(compiler="taichi"),
    "forge": Way(compiler="forge"),
    "tape": Way(compiler="taichi", mode="tape"),
    "vulkan": Way("vulkan"),
    "cuda": Way("cuda"),
}


def way_of(kind: str) -> Way | None:
    """Return the way that a contender such as `native` or `vulkan:step` runs; None for those of others."""
    name, _, mode = kind.partition(":")
    way = WAYS.get(name)
    return replace(way, mode=mode) if way and mode else way


def reason(error: BaseException) -> str:
    """Say in one line why a contender could not be started: what its own process said."""
    said = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return said[0][:_REASON]


@dataclass(frozen=True)
class Setup:
    """What a contender runs.

    Attributes:
        kind: `plain`, `jax`, `warp`, `c`, a mode of diffsim, or a way to run it.
        sizes: The sizes of the problem, by name.
        steps: Time steps.
        precision: 32 or 64.
        arch: `cpu` or `cuda`.
        threads: CPU threads, None for all.
        cache: Take compiled kernels from Taichi's cache on disk, and keep them there.
        mode: Of diffsim, where the kind is a way without one.
    """

    kind: str
    sizes: dict[str, int]
    steps: int
    precision: int = 32
    arch: str = "cpu"
    threads: int | None = 1
    cache: bool = True
    mode: str = "auto"

    @property
    def real(self) -> type:
        """The type of a number."""
        return np.float64 if self.precision == 64 else np.float32

    @property
    def device(self) -> str:
        """Where a library runs that knows nothing but CPU and CUDA: a rehearsal's peers run on the CPU."""
        return "cuda" if self.arch == "cuda" else "cpu"


def diffsim_program(
    setup: Setup, make: Callable[[], Any], wrt: str | Sequence[str], worlds: int = 1
) -> Program:
    """Build a contender of diffsim.

    Args:
        setup: What it runs; its kind is the mode, or a way to run under the default budget.
        make: Makes the simulator.
        wrt: The key of what the gradient is taken of, or several; they come back without their path.
        worlds: How many; costs are added up.
    """
    import diffsim as ds

    way = way_of(setup.kind)
    arch, compiler = (way.arch, way.compiler) if way else (setup.arch, "auto")
    ds.init(arch, setup.precision, threads=setup.threads, cache=setup.cache, compiler=compiler)
    memory, mode = ("1GiB", way.mode or setup.mode) if way else ("4GiB", setup.kind)
    rollout = ds.Rollout(make(), steps=setup.steps, worlds=worlds, memory=memory, mode=mode)
    keys = [wrt] if isinstance(wrt, str) else list(wrt)

    def value_and_grad() -> tuple[float, Arrays]:
        cost, grads = rollout.value_and_grad(keys)
        return float(np.sum(cost)), {key.rpartition(".")[2]: array for key, array in grads.items()}

    return Program(rollout.value, value_and_grad)


def one_thread_of_jax(setup: Setup) -> None:
    """Keep JAX, not yet imported, to the setup's threads: it takes one for each core it may use."""
    if setup.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-setup.threads :])
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'false' if setup.threads == 1 else 'true'}"


def usable(kinds: Sequence[str]) -> list[str]:
    """Leave out what this machine can't run, with a line that says so."""
    missing = {"c": compiler() is None}
    packages = {"jax": "jax", "warp": "warp", "native": "llvmlite", "forge": "taichi_forge"}
    missing.update({kind: find_spec(name) is None for kind, name in packages.items()})
    for kind in kinds:
        if missing.get(kind.partition(":")[0]):
            print(f"left out: {LABELS.get(kind, kind)}, which this machine does not have")
    return [kind for kind in kinds if not missing.get(kind.partition(":")[0])]


def parser(
    name: str, about: str | None, sizes: dict[str, int], steps: int, kinds: Sequence[str]
) -> argparse.ArgumentParser:
    """Make the parser of the command line that both share; the first of the kinds is the yardstick."""
    made = argparse.ArgumentParser(f"python -m benchmarks {name}", description=about)
    for size, default in sizes.items():
        made.add_argument(f"--{size}", type=int, default=default, help=f"({default})")
    made.add_argument("--steps", type=int, default=steps, help=f"time steps ({steps})")
    made.add_argument(
        "--contenders",
        nargs="+",
        default=list(kinds),
        choices=(*kinds, *MODES),
        help=f"what to compare, the first is the yardstick ({' '.join(kinds)}); also {', '.join(MODES)}",
    )
    made.add_argument("--repeat", type=int, default=7, help="rounds of timing (7)")
    made.add_argument("--precision", type=int, choices=(32, 64), default=32, help="bits of a number (32)")
    made.add_argument("--arch", choices=("cpu", "cuda"), default="cpu", help="backend (cpu)")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of each (1); 0 for all")
    made.add_argument("--no-cache", action="store_true", help="compile everything anew")
    made.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    return made


def check(options: argparse.Namespace, made: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Refuse counts below one."""
    for name in (*names, "steps", "repeat"):
        if getattr(options, name) < 1:
            made.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.threads < 0:
        made.error(f"--threads must be at least 0, got {options.threads}")


def measure(contenders: Sequence[Contender], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time all contenders in turns; return seconds of a call in each round, by contender and measure."""
    times: dict[str, dict[str, list[float]]] = {c.setup.kind: {m: [] for m in MEASURES} for c in contenders}
    calls = {
        (c.setup.kind, m): max(1, min(50, round(_BATCH_SECONDS / max(c.seconds(m, 1), 1e-6))))
        for c in contenders
        for m in MEASURES
    }
    for _ in range(rounds):
        for contender in contenders:
            kind = contender.setup.kind
            for name in MEASURES:
                times[kind][name].append(contender.seconds(name, calls[kind, name]))
    return times


def compare(contenders: Sequence[Contender], tolerance: float) -> dict[str, Any]:
    """Compare costs and gradients with the first contender's, relative to them."""
    first = contenders[0]
    found: dict[str, Any] = {"cost": first.cost, "tolerance": tolerance, "agree": True}
    for other in contenders[1:]:
        cost = abs(other.cost - first.cost) / abs(first.cost)
        gradient = gradient_error(other.grads, first.grads)
        found[other.setup.kind] = {"cost_error": cost, "gradient_error": gradient}
        found["agree"] &= bool(cost <= tolerance and gradient <= tolerance)  # NaN does not agree
        print(f"{other.setup.kind} against {first.setup.kind}: cost {cost:.1e}, gradient {gradient:.1e}")
    if not found["agree"]:
        print(f"DISAGREE by more than {tolerance:.0e}")
    return found


def _ratio(theirs: Sequence[float], mine: Sequence[float]) -> float:
    """Return the median ratio within a round."""
    return statistics.median(a / b for a, b in zip(theirs, mine, strict=True))


def summary(contenders: Sequence[Contender], times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Turn times into medians, minima and ratios to the first contender's."""
    found: dict[str, Any] = {}
    first = times[contenders[0].setup.kind]
    for contender in contenders:
        mine = times[contender.setup.kind]
        found[contender.setup.kind] = {
            **{f"{name}_s": statistics.median(mine[name]) for name in MEASURES},
            **{f"{name}_least_s": min(mine[name]) for name in MEASURES},
            **{f"{name}_faster": _ratio(first[name], mine[name]) for name in MEASURES},
            "build_s": contender.build,
            "first_call_s": contender.build + contender.first,
            "compile_s": max(0.0, contender.first - statistics.median(mine["value_and_grad"])),
            "times": mine,
        }
    return found


def row_cells(kind: str, n: dict[str, Any], per: float, ratios: Sequence[float]) -> list[str]:
    """Return the cells of a contender under `ROW_HEAD`, but for the program's.

    Args:
        kind: The contender.
        n: What `summary` tells of it.
        per: Milliseconds that a second stands for: fewer where it is shared out over worlds.
        ratios: Forward, and with the gradient, to the first of its row.
    """
    return [
        LABELS.get(kind, f"diffsim {kind}"),
        f"{n['first_call_s']:.2f}",
        *(f"{per * n[key]:.3g}" for key in ("value_s", "value_and_grad_s", "value_and_grad_least_s")),
        *(f"{ratio:.2f}" for ratio in ratios),
    ]


def print_summary(found: dict[str, Any], yardstick: str) -> None:
    """Print the table."""
    head = [
        "",
        "build s",
        "compile s",
        "forward ms",
        "both ms",
        "least ms",
        "forward",
        f"both vs {yardstick}",
    ]
    rows = [
        [
            LABELS.get(kind, f"diffsim {kind}"),
            f"{n['build_s']:.2f}",
            f"{n['compile_s']:.2f}",
            f"{1e3 * n['value_s']:.2f}",
            f"{1e3 * n['value_and_grad_s']:.2f}",
            f"{1e3 * n['value_and_grad_least_s']:.2f}",
            f"{n['value_faster']:.1f}x",
            f"{n['value_and_grad_faster']:.1f}x",
        ]
        for kind, n in found.items()
    ]
    print_table(head, rows)


def run(
    options: argparse.Namespace, sizes: Sequence[str], make: Callable[[Any], Program], tolerance: float
) -> int:
    """Compare and time; the exit status is 1 where costs or gradients differ.

    Args:
        options: The command line.
        sizes: The names of the problem's sizes among them.
        make: Builds a contender's program from its setup.
        tolerance: The largest relative difference that counts as agreement.
    """
    found = machine()
    print_machine(found)
    clock = "processor" if options.threads == 1 and options.arch == "cpu" else "wall"
    common = (
        {name: getattr(options, name) for name in sizes},
        options.steps,
        options.precision,
        options.arch,
        options.threads or None,
        not options.no_cache,
    )
    contenders = [
        Contender(Setup(kind, *common), make, clock) for kind in usable(dict.fromkeys(options.contenders))
    ]
    agreement = compare(contenders, tolerance)
    result = summary(contenders, measure(contenders, options.repeat))
    for contender in contenders:
        contender.close()
    size = ", ".join(f"{name} {value}" for name, value in contenders[0].setup.sizes.items())
    print(
        f"\n{size}, {options.steps} steps, f{options.precision}, {options.arch}, "
        f"threads {options.threads or 'all'}, {clock} time:"
    )
    print_summary(result, contenders[0].setup.kind)
    data = {
        "machine": found,
        "options": vars(options),
        "clock": clock,
        "agreement": agreement,
        "contenders": result,
    }
    write_json(options.json, data)
    return 0 if agreement["agree"] else 1
