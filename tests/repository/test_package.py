"""The package as it is installed: facade, version, entry points, quiet imports, wheel and source archive."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import diffsim as ds

ROOT = Path(__file__).resolve().parents[2]
PLACED = {"diffsim": "diffsim", "diffsim/kernels": "kernels", "diffsim/demos": "demos"}

# What DESIGN.md promises to the users of `import diffsim as ds`.
FACADE = [
    "init",
    "runtime.info",
    "runtime.RuntimeInfo",
    "Simulator",
    "Part",
    "State",
    "Scratch",
    "Param",
    "Control",
    "Constant",
    "Rollout",
    "Rollout.value",
    "Rollout.value_and_grad",
    "Rollout.trajectory",
    "Rollout.trajectories",
    "Rollout.check_grad",
    "Rollout.seed",
    "random",
    "randn",
    "plan",
    "minimize",
    "control.MLP",
    "control.Sinusoids",
    "optim.Optimizer",
    "optim.SGD",
    "optim.Adam",
    "errors.DiffsimError",
    "errors.ConfigError",
    "errors.TraceError",
    "errors.GradientError",
    "errors.StateError",
]
ELEMENT_TYPES = ["real", "vec2", "vec3", "mat2", "mat3"]
_CLICKING = tuple("app auditing commands graph looking playing project refusals rules words".split())
COMMAND_LINE = ("diffsim.__main__", *(f"diffsim.cli.{name}" for name in _CLICKING))
ENDINGS = (".py", ".toml", ".obj", ".txt", ".css", ".js")
PAGES = ("py.typed", "rules.md")  # data of the package
HEAVY = ["matplotlib", "PIL", "click", "torch", "jax", "scipy", "gymnasium", "imageio", "ray"]


def run_python(code: str, *, cwd: Path, pythonpath: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter, with nothing of this process but PATH and HOME."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if pythonpath is not None:
        env["PYTHONPATH"] = str(pythonpath)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


# ---- the facade ----


@pytest.mark.parametrize("path", FACADE)
def test_the_facade_has_what_the_design_promises(path: str) -> None:
    thing: object = ds
    for name in path.split("."):
        assert hasattr(thing, name), f"diffsim.{path} is missing"
        thing = getattr(thing, name)
    assert inspect.getdoc(thing), f"diffsim.{path} has no docstring"


@pytest.mark.parametrize("name", ELEMENT_TYPES)
def test_the_facade_has_element_types(name: str) -> None:
    assert hasattr(ds, name)


def test_all_names_what_the_facade_has() -> None:
    assert len(set(ds.__all__)) == len(ds.__all__)
    assert [name for name in ds.__all__ if not hasattr(ds, name)] == []
    visible = {name for name in vars(ds) if not name.startswith("_")}
    submodules = {name for name in visible if isinstance(getattr(ds, name), ModuleType)}
    assert visible - submodules - {"annotations"} <= set(ds.__all__)
    promised = {path.split(".")[0] for path in FACADE} | set(ELEMENT_TYPES)
    assert promised <= set(ds.__all__)


def test_errors_are_also_of_the_builtin_kind() -> None:
    assert issubclass(ds.errors.ConfigError, ValueError)
    assert issubclass(ds.errors.StateError, RuntimeError)
    for name in ("ConfigError", "TraceError", "GradientError", "StateError"):
        assert issubclass(getattr(ds.errors, name), ds.errors.DiffsimError)


def test_version_is_the_same_everywhere() -> None:
    assert ds.__version__ == importlib.metadata.version("diffsim")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest is not None
    assert newest[1] == ds.__version__


@pytest.mark.parametrize("group", ["diffsim.tasks", "diffsim.simulators"])
def test_entry_points_load(group: str) -> None:
    found = {point.name: point for point in importlib.metadata.entry_points(group=group)}
    assert "mass_spring" in found
    for point in found.values():
        assert inspect.isclass(point.load()) or callable(point.load())


def test_extras_are_what_the_code_asks_for() -> None:
    """An extra that nothing uses promises what is not there."""
    tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {
        ast.literal_eval(call.args[1])
        for folder in PLACED.values()
        for path in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("require") and len(call.args) == 3
    }
    # the compiler `forge` is looked for before it is imported
    assert set(project["optional-dependencies"]) == asked | {"docs", "forge", "readers", "test"}


# ---- quiet imports ----


def test_import_is_quiet_and_light(tmp_path: Path) -> None:
    code = f"import sys, diffsim; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = run_python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_no_module_starts_anything_when_imported(tmp_path: Path) -> None:
    """Every module but the command line is imported: quiet, light, and without a Taichi runtime."""
    code = f"""
import importlib, pkgutil, sys
import diffsim, diffsim.kernels, diffsim.demos
for package in (diffsim, diffsim.kernels, diffsim.demos):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in {COMMAND_LINE}:
            importlib.import_module(module.name)
print(*[name for name in {HEAVY} if name in sys.modules])
try:
    print(diffsim.runtime.info())
except diffsim.errors.StateError:
    pass
"""
    done = run_python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


# ---- wheel and source archive ----


def data_and_code(folder: Path) -> set[str]:
    """Files of a package folder that belong into a wheel, relative to it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix in ENDINGS or path.name in PAGES)
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built without a network from a source archive of a clean copy of the checkout."""
    work = tmp_path_factory.mktemp("wheel")
    clean = work / "checkout"
    clean.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in PLACED.values():
        shutil.copytree(ROOT / folder, clean / folder, ignore=skip)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, clean / name)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(work)!r})"
    done = run_python(code, cwd=clean)
    assert done.returncode == 0, done.stderr
    (archive,) = work.glob("diffsim-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(work, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    source = work / archive.name.removesuffix(".tar.gz")
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(work)]
    made = subprocess.run(
        [sys.executable, *pip, "wheel", *flags, str(source)], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    (path,) = work.glob("diffsim-*.whl")
    return path


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    info = f"diffsim-{ds.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"diffsim", info}
    wanted = {f"{place}/{name}" for place, folder in PLACED.items() for name in data_and_code(ROOT / folder)}
    assert {name for name in names if not name.startswith(info)} == wanted
    assert any(re.fullmatch(r"diffsim/kernels/mass_spring/robots/.+\.toml", name) for name in wanted)
    assert f"{info}/licenses/LICENSE" in names


def test_installed_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = """
import diffsim, diffsim.kernels.mass_spring, diffsim.demos
from importlib.metadata import entry_points, version
from importlib.resources import files
print(diffsim.__file__); print(version("diffsim"))
robots = files("diffsim.kernels.mass_spring").joinpath("robots")
print(sum(robot.name.endswith(".toml") for robot in robots.iterdir()))
"""
    done = run_python(code, cwd=tmp_path, pythonpath=site)
    assert (done.returncode, done.stderr) == (0, "")
    file, version, robots = done.stdout.split()
    assert Path(file).is_relative_to(site)
    assert version == ds.__version__
    assert int(robots) >= 5
