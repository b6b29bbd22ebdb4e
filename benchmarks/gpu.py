"""What a GPU makes of diffsim, in one command of at most ten minutes: `make gpu`.

The core of the tests; then value and gradient of 1 to 16384 robots, of a wave and of elastic blocks in the
plane and in space, in every mode, beside JAX and Warp where they are installed, each compared with the CPU's.
`--arch vulkan --small` rehearses it on a software driver. Results are written after every part.
`python -m benchmarks gpu --out benchmarks/results`
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_parts as parts
from benchmarks.common import machine, print_machine, write_json
from benchmarks.gpu_report import print_programs, print_robots, ratios, write_report

WORLDS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
PARTS = ("tests", "robots", "programs")
SHARES = {"tests": 0.35, "robots": 0.6, "programs": 1.0}  # of what is left of the time
MOST = 10.0  # so many times the worlds, `gpu_report.MORE` over `LESS`, in under so many times the time


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks gpu", description=__doc__)
    parser.add_argument(
        "--arch", choices=("cuda", "vulkan", "cpu"), default="cuda", help="backend (cuda); cpu to try it"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help=f"({' '.join(PARTS)})")
    parser.add_argument("--minutes", type=float, default=10.0, help="that it may take in all (10)")
    parser.add_argument("--robot", default="1", help="a number (1)")
    parser.add_argument("--steps", type=int, default=682, help="time steps of robots (682)")
    parser.add_argument("--worlds", type=int, nargs="+", default=list(WORLDS), help="robots (1 to 16384)")
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=parts.MODES,
        default=list(parts.MODES),
        help=f"({' '.join(parts.MODES)})",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=parts.PEERS,
        default=list(parts.PEERS),
        help=f"({' '.join(parts.PEERS)})",
    )
    parser.add_argument(
        "--programs",
        nargs="+",
        choices=parts.PROGRAMS,
        default=list(parts.PROGRAMS),
        help=f"({' '.join(parts.PROGRAMS)})",
    )
    parser.add_argument("--memory", default="32GiB", help="budget of the robots (32GiB)")
    parser.add_argument("--repeat", type=int, default=20, help="calls of which the fastest counts (20)")
    parser.add_argument("--seconds", type=float, default=1.0, help="no further call after so long (1)")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds to wait for a peer (60)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command")
    parser.add_argument("--out", metavar="FOLDER", help="write gpu_ARCH.json and gpu_ARCH.md there")
    options = parser.parse_args(words)
    if options.steps < 1 or options.repeat < 1 or min(options.worlds) < 1 or options.minutes <= 0.0:
        parser.error("--steps, --repeat, --worlds and --minutes must be at least 1")
    if options.small:
        options.worlds, options.steps, options.robot = options.worlds[:2], min(options.steps, 6), "0"
    return options


def gpu_name() -> str | None:
    """Name the GPU, as its driver's tool tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].split(" (UUID")[0] if done.returncode == 0 and done.stdout else None


def why_missing(arch: str) -> str:
    """Say why a backend can't be had here, in a process of its own; empty where it can."""
    code = f"import diffsim as ds; ds.init({arch!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it died"])[-1]


def run(options: argparse.Namespace, data: dict[str, Any], clock: parts.Clock) -> None:
    """Run the parts that are asked for, and write after each what is known.

    Args:
        options: The command line.
        data: What is found is put here, by part.
        clock: When all must be done.
    """
    words = vars(options)
    for part in [part for part in PARTS if part in options.parts]:
        share = clock.share(SHARES[part])
        print(f"\n---- {part}: at most {share.left:.0f} s ----", flush=True)
        if part == "tests":
            data[part] = parts.tests(options.arch, share)
            print("\n".join(data[part]["lines"][-3:]), flush=True)
        else:
            data[part] = []
            for row in {"robots": parts.robots, "programs": parts.programs}[part](words, share):
                data[part].append(row)
                took = row.get("both_s", row.get("value_and_grad_s", 0.0))
                print(f"{_who(row)}: {row.get('error') or f'{1e3 * took:.2f} ms'}", flush=True)
        if options.out:
            write_json(str(Path(options.out) / f"gpu_{options.arch}.json"), data)
            write_report(Path(options.out) / f"gpu_{options.arch}.md", data)


def _who(row: dict[str, Any]) -> str:
    """Name what a row is of."""
    return " ".join(str(row[k]) for k in ("program", "kind", "mode", "worlds") if k in row)


def verdict(data: dict[str, Any]) -> list[str]:
    """List what is not as it should be."""
    found = []
    if data.get("tests", {}).get("status", 0) != 0:
        found.append("tests failed or were not done in time")
    for row in [*data.get("robots", ()), *data.get("programs", ())]:
        if "error" in row:
            found.append(f"{_who(row)}: {row['error']}")
        elif not row.get("agree", True):
            found.append(f"{_who(row)}: cost or gradient is not the CPU's")
    many = ratios(data.get("robots", ())).get("fastest", 0.0)
    if many >= MOST:
        found.append(f"sixteen times the robots take {many:.1f} times as long")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status is 1 where something is wrong, or many worlds take too long."""
    options = parse(words)
    clock = parts.Clock(time.monotonic() + 60.0 * options.minutes)
    missing = why_missing(options.arch)
    if missing:
        print(f"skipped: {missing}; --arch vulkan --small, or --arch cpu --small, rehearses the command")
        return 0
    found = {**machine(), "gpu": gpu_name()}
    print_machine(found)
    data: dict[str, Any] = {"machine": found, "options": vars(options)}
    run(options, data, clock)
    if data.get("robots"):
        print(f"\nrobot {options.robot}, {options.steps} steps, {options.arch}:")
        print_robots(data["robots"])
    if data.get("programs"):
        print()
        print_programs(data["programs"])
    wrong = verdict(data)
    print("\n" + ("\n".join(f"WRONG: {line}" for line in wrong) or "all is well"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
