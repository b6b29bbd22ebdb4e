"""The commands that look at runs: `report`, `compare`, `serve`, and `train --live`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffsim.cli.words import FOLDER, QUIET
from diffsim.errors import ConfigError
from diffsim.files import require_writable, why_not_writable

if TYPE_CHECKING:
    from diffsim.progress import Progress
    from diffsim.tasks.runs.watching import Watcher

__all__ = ["COMPARE", "REPORT", "SERVE", "compare", "report", "serve", "watching"]

_MOST = 4  # runs side by side
REPORT: list[click.Parameter] = [FOLDER, QUIET]
COMPARE: list[click.Parameter] = [
    click.Argument(["folders"], metavar="FOLDER FOLDER ...", nargs=-1),
    click.Option(["--out"], metavar="FILE", help="the page to write [compare.html]"),
    QUIET,
]
SERVE: list[click.Parameter] = [
    click.Argument(["folder"], metavar="[FOLDER]", default="runs"),
    click.Option(
        ["--port"], type=click.IntRange(0, 65535), default=0, help="where to listen [any that is free]"
    ),
    QUIET,
]


def report(folder: str, quiet: bool) -> int:
    """Write the report of a run anew: report.html in its folder, a page that opens by itself.

    It is made from the files of the folder; only a motion that is missing is simulated.
    """
    from diffsim.progress import make_progress
    from diffsim.tasks import runs

    path = Path(folder)
    reason = why_not_writable(path.absolute()) if path.is_dir() else ""
    if reason:
        raise ConfigError(f"run folder must be writable, got {folder} ({reason}); correct the permissions")
    progress = make_progress(quiet)
    progress.say(f"wrote {runs.report(path, progress)}")
    return 0


def compare(folders: tuple[str, ...], out: str | None, quiet: bool) -> int:
    """Write a page that shows 2 to 4 runs side by side: curves, motions, and what differs."""
    from diffsim.progress import make_progress
    from diffsim.tasks import runs

    page = Path(out if out is not None else "compare.html")
    _check_comparison(folders, page)
    runs.write_comparison([Path(folder) for folder in folders], page)
    make_progress(quiet).say(f"wrote {page}")
    return 0


def serve(folder: str, port: int, quiet: bool) -> int:
    """Show the runs of a folder in a browser on this machine, until Ctrl-C.

    Without FOLDER those of runs/. Up to four of them can be chosen and compared.
    """
    import time

    from diffsim.progress import make_progress
    from diffsim.tasks.serving import Server, Shelf, open_browser

    shelf = Shelf(Path(folder))
    with Server(shelf.answer, port) as server:
        make_progress(quiet).say(f"{len(shelf.runs())} runs are at {server.address} (Ctrl-C ends)")
        open_browser(server.address)
        while True:
            time.sleep(3600.0)


def watching(progress: Progress) -> Watcher:
    """Make what shows a run in a browser while it trains."""
    from diffsim.tasks.serving import Live

    return Live(progress)


def _check_comparison(folders: tuple[str, ...], page: Path) -> None:
    """Refuse what can't be compared, or written.

    Raises:
        ConfigError: There are too few or too many folders, or the page is no file that can be written.
    """
    if not 2 <= len(folders) <= _MOST:
        raise ConfigError(
            f"compare must get 2 to {_MOST} run folders, got {len(folders)}; name them one after the other"
        )
    if not page.name:
        raise ConfigError(f"--out must name a file, got {str(page)!r}; write for example --out compare.html")
    require_writable(page, "--out")
