"""The README and the documentation: their code runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from sweeps import FULL

import diffsim as ds
from diffsim.rollout.grad import misread

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

from blocks import blocks, pages, run, same  # noqa: E402

README = ROOT / "README.md"
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", ROOT / "diffsim/compiler/checks/rules.md"]
OTHERS += [ROOT / "kernels/mass_spring/robots/README.md"]
WITH_CODE = [
    page for page in pages() if page != README and any(block.kind == "python" for block in blocks(page))
]
PICTURES = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---- code ----


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; rollouts that a page leaves open are closed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(misread, "SECONDS", 60.0)  # enough, so that pages tell the same on any machine
    before = set(map(id, ds.runtime.living()))
    yield tmp_path
    for user in ds.runtime.living():
        if id(user) not in before:
            user.close()


@pytest.mark.cpu
@pytest.mark.native
@pytest.mark.filterwarnings("ignore:Taichi fields must be made after:RuntimeWarning")  # of other tests
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(page: Path, folder: Path) -> None:
    told = {block.line: (block, printed) for block, printed in run(page, folder)}
    for block, printed in told.values():
        if block.prints is not None:
            assert same(block.prints, printed), f"{page}:{block.line} prints:\n{printed}"
    for picture in PICTURES.findall(page.read_text()):
        if any(repr(Path(picture).name)[1:-1] in block.code for block, _ in told.values()):
            assert (folder / Path(picture).name).stat().st_size > 1000
    if page.name == "port.md":
        one, other = (printed.splitlines()[-1] for _, printed in told.values())
        assert one == other
    if page.name == "own.md":
        assert next(block.code for block, _ in told.values()).count("\n") <= 65


def test_the_readme_is_one_screen() -> None:
    assert len(README.read_text().splitlines()) <= 80


@pytest.mark.cpu
def test_the_program_of_the_readme(folder: Path) -> None:
    (block,) = (block for block in blocks(README) if block.kind == "python")
    (folder / "pendulum.py").write_text(block.code)
    done = subprocess.run(
        [sys.executable, "pendulum.py"], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gradient with respect to torque")  # no banner before it
    assert "passed" in done.stdout
    found = re.search(r"cost (\S+) -> (\S+)", done.stdout)
    assert found is not None
    assert float(found[1]) == 9.87
    assert float(found[2]) < 0.1
    assert (folder / "pendulum.png").stat().st_size > 10_000


def test_commands_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffsim.cli.app import _cli
    from diffsim.cli.project import written

    written("my_sim")
    os.chdir("my_sim")
    (folder / "my_sim/runs/robot2").mkdir(parents=True)
    seen = set()
    for page in [*pages(), *OTHERS]:
        for block in blocks(page):
            for line in block.code.splitlines() if block.kind == "sh" else ():
                program, *words = shlex.split(line.removeprefix("$ "), comments=True) or [""]
                if program == "diffsim":
                    with contextlib.suppress(click.exceptions.Exit):  # a rule has been told of
                        _cli.commands[words[0]].make_context(words[0], words[1:])
                    seen.add(words[0])
                elif program == "make":
                    assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(), line
                elif program == "python" and words[0].endswith(".py"):
                    assert Path(words[0]).exists() or (ROOT / words[0]).exists(), line
    assert {"new", "train", "resume", "render", "plan", "check", "explain"} <= seen
    assert "RACE" in capsys.readouterr().out


# ---- links ----


def generated() -> set[str]:
    """Pages that the site makes, by their names there."""
    source = ast.parse((DOCS / "hooks.py").read_text())
    tables = [
        node.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    ]
    names = {key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)}
    assert all(name.endswith(".md") for name in names)
    return names


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as the site makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M):
        named = re.search(r"\{\s*#(\S+)\s*\}", heading)
        text = re.sub(r"[^\w\s-]", "", heading.lower())
        found.add(named[1] if named else re.sub(r"[\s-]+", "-", text).strip("-"))
    return found


@pytest.mark.parametrize("page", [*pages(), *OTHERS], ids=name_of)
def test_links(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        if target.is_relative_to(DOCS) and str(target.relative_to(DOCS)) in generated():
            continue
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_site_has_every_page() -> None:
    config = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"[\w/-]+\.md", config[config.index("\nnav:") :])
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | generated()
    assert sorted(listed) == sorted(there)


def test_every_picture_is_made_by_a_command() -> None:
    makers = "".join((DOCS / name).read_text() for name in ("make_pictures.py", "make_gallery.py"))
    from diffsim.tasks.registry import task_names

    made = {f"gallery/{name}.{kind}" for name in task_names() for kind in ("png", "webp")}
    shown = {
        str((page.parent / picture).resolve().relative_to(DOCS))
        for page in pages()
        for picture in PICTURES.findall(page.read_text())
    }
    assert {name for name in shown - made if f'"{name}"' not in makers} == set()
    kinds = (".png", ".gif", ".mp4", ".webm", ".webp", ".svg")
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*") if path.suffix in kinds}
    assert there == shown


# ---- the reference ----


def documented() -> set[str]:
    """Paths that the reference has."""
    text = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    return set(re.findall(r"^::: (\S+)$", text, re.M)) | set(re.findall(r"\[\]\(\)\{ #(\S+) \}", text))


def test_the_reference_has_every_public_name() -> None:
    assert {f"diffsim.{name}" for name in ds.__all__} - documented() == set()


def public() -> Iterator[tuple[str, Any]]:
    """Everything public, by its path."""
    stack: list[tuple[str, Any]] = [(f"diffsim.{name}", getattr(ds, name)) for name in ds.__all__]
    seen = set()
    while stack:
        path, thing = stack.pop()
        if id(thing) in seen or not (
            inspect.isclass(thing) or callable(thing) or isinstance(thing, ModuleType)
        ):
            continue
        seen.add(id(thing))
        yield path, thing
        if isinstance(thing, ModuleType):
            stack += [(f"{path}.{name}", getattr(thing, name)) for name in getattr(thing, "__all__", ())]
        elif inspect.isclass(thing) and thing.__module__.startswith("diffsim"):
            stack += [(f"{path}.{name}", value) for name, value in vars(thing).items() if name[0] != "_"]


def missing(text: str) -> list[str]:
    """Names in inline code that begin with the library's, and are not there."""
    found = []
    for name in re.findall(r"(?<!`)`(?:ds|diffsim)\.([\w.]+)", text):
        thing: Any = ds
        for part in name.split("."):
            if isinstance(thing, ModuleType) and not hasattr(thing, part):
                try:
                    thing = __import__(f"{thing.__name__}.{part}", fromlist=["x"])
                    continue
                except ImportError:
                    pass
            if not hasattr(thing, part) and part not in getattr(thing, "__annotations__", {}):
                found.append(name)
                break
            thing = getattr(thing, part, None)
    return found


def test_names_in_docstrings_and_pages_are_there() -> None:
    texts = {path: inspect.getdoc(thing) or "" for path, thing in public()}
    assert len(texts) > 150
    texts |= {name_of(page): page.read_text() for page in [*pages(), *OTHERS]}
    assert {path: missing(text) for path, text in texts.items() if missing(text)} == {}
    assert missing("`ds.Rollouts(sim)` and `ds.optim.Adamant`") == ["Rollouts", "optim.Adamant"]


# ---- the site ----


@pytest.mark.skipif(not FULL, reason="builds the site: make test-full")
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = [sys.executable, str(DOCS / "build.py"), "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    built = list(tmp_path.rglob("*.html"))
    assert len(built) > 30
    for page in built:
        html = page.read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe|source|video)[^>]*src=\"?https?:[^>]*>", html) == [], page
        sheets = [tag for tag in re.findall(r"<link[^>]*>", html) if re.search(r"href=\"?https?:", tag)]
        assert [tag for tag in sheets if "canonical" not in tag] == [], page
        assert re.findall(r"<h\d id=\"diffsim\S*\._[^\"]*\"", html) == [], f"{page} tells of private names"
    for sheet in tmp_path.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")) == [], sheet
