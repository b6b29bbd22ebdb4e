"""The notebooks in demos/ run as they are, one after the other in one kernel, and show what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "demos").glob("*.ipynb"))


# In a process of its own, whose sockets end with it. The kernel is the interpreter that runs the tests.
EXECUTE = """
import sys
import nbclient, nbformat
from jupyter_client.manager import KernelManager
manager = KernelManager()
manager.kernel_spec.argv[:] = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
notebook = nbformat.read("all.ipynb", 4)
nbclient.NotebookClient(notebook, km=manager, timeout=300).execute()
nbformat.write(notebook, "all.ipynb")
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The code cells of each notebook with what they printed and showed."""
    whole, owners = nbformat.v4.new_notebook(), []
    for path in NOTEBOOKS:
        cells = [nbformat.v4.new_code_cell("%reset -f"), *nbformat.read(path, 4).cells]
        owners += [path.stem] * len(cells)
        whole.cells += cells
    for k, cell in enumerate(whole.cells):
        cell["id"] = f"cell-{k}"
    folder = tmp_path_factory.mktemp("notebooks")
    nbformat.write(whole, folder / "all.ipynb")
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    cells = zip(nbformat.read(folder / "all.ipynb", 4).cells, owners, strict=True)
    found: dict[str, list[Any]] = {path.stem: [] for path in NOTEBOOKS}
    for cell, owner in cells:
        if cell.cell_type == "code":
            found[owner].append(cell)
    return found


def shown(cells: list[Any]) -> list[str]:
    return [o.data["text/html"] for cell in cells for o in cell.outputs if "text/html" in o.get("data", {})]


def test_notebooks_are_kept_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["pendulum", "seeing_gradients"]
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, 4).cells:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


SHOWN = {
    "pendulum": ["Plan of 200 steps", "check passed: right", "<progress", "cost 4.", "of Pendulum", "data:"],
    "seeing_gradients": [
        "<progress",
        "cost 42",
        "The gradient is healthy",
        "The gradient explodes",
        "Signal d cost / d x",
        "data:",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_notebooks_show_what_they_tell_of(executed: dict[str, list[Any]], name: str) -> None:
    titles = SHOWN[name]
    pages = shown(executed[name])
    assert len(pages) == len(titles)
    for page, title in zip(pages, titles, strict=True):
        assert title in page
    printed = [o.text for cell in executed[name] for o in cell.outputs if o.output_type == "stream"]
    assert printed == []  # no flood of lines
    bar = next(page for page in pages if "<progress" in page)
    assert 'value="1.0000"' in bar
