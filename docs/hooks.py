"""What the documentation site is made of beside the pages in this folder; see mkdocs.yml.

Pages that lie elsewhere in the repository, or are told by the library itself, join the site here; inline code
that names something public links to its reference.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from generated import command_line, simulators, tasks  # noqa: E402
from references import linked  # noqa: E402

# Pages that lie elsewhere in the repository, by their names on the site.
ELSEWHERE = {
    "rules.md": "diffsim/compiler/checks/rules.md",
    "benchmarks.md": "benchmarks/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "robots.md": "kernels/mass_spring/robots/README.md",
}
PICTURES = {
    f"pictures/benchmarks/{path.name}": f"benchmarks/results/{path.name}"
    for path in sorted((ROOT / "benchmarks/results").glob("*.png"))
}
MADE = {
    "reference/command-line.md": command_line,
    "reference/tasks.md": tasks,
    "reference/simulators.md": simulators,
}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in this folder."""
    from mkdocs.structure.files import File

    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for name, source in PICTURES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_bytes()))
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links to where pages are on the site, and link names to the reference."""
    name = page.file.src_uri
    return linked(relinked(markdown, name))


def relinked(markdown: str, name: str) -> str:
    """Return a page whose links to files of the repository lead to pages of the site.

    Args:
        markdown: The page.
        name: Its name on the site.
    """
    source = ELSEWHERE.get(name, f"docs/{name}")
    pages = {path: page for page, path in (ELSEWHERE | PICTURES).items()} | {"README.md": "index.md"}

    def moved(found: re.Match[str]) -> str:
        link = found[2]
        if ":" in link:
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        page = pages.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if page is None:
            return found[0]
        return f"{found[1]}{posixpath.relpath(page, posixpath.dirname(name) or '.')}{found[3]}"

    return _LINK.sub(moved, markdown)
