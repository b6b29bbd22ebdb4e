"""`python -m benchmarks [NAME] [options]`: run one benchmark, or all that take minutes."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    *("mass_spring", "wave", "mpm", "training", "long", "memory", "overhead", "worlds", "gpu"),
    *("analysis", "smoke", "functions", "compilers", "first", "versions", "energies", "once", "language"),
    *("estimates", "pictures", "layouts", "scratch", "backends"),
)
BY_NAME = ("learning", "sparse")  # half an hour or more: run only when named


def main(words: list[str]) -> int:
    """Run what is asked for, each benchmark in a process of its own."""
    named = words[:1] if words and not words[0].startswith("-") else []
    if named and named[0] not in NAMES + BY_NAME:
        print(
            f"NAME must be one of {', '.join(NAMES + BY_NAME)}, got {named[0]}; leave it out for all but "
            + ", ".join(BY_NAME),
            file=sys.stderr,
        )
        return 2
    if not named and words:
        print(f"usage: python -m benchmarks [{'|'.join(NAMES + BY_NAME)}] [options]")
        print("NAME --help lists the options")
        return 0 if words[0] in ("-h", "--help") else 2
    status = 0
    for name in named or NAMES:
        if not named:
            print(f"---- {name} ----", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words[1:]], check=False)
        status = status or done.returncode
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
