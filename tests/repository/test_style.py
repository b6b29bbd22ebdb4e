"""The house rules that no off-the-shelf linter knows, read from the syntax trees of the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"diffsim": "diffsim", "kernels": "diffsim.kernels", "demos": "diffsim.demos"}
MODULE_LINES = 400
FUNCTION_LINES = 60  # of code: the docstring does not count

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    """The name under which a source file is imported."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *(part for part in rest if part != "__init__")])


SOURCES = {module_name(path): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
MODULES = pytest.mark.parametrize("module", SOURCES)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split(".")) or name == "diffsim.__main__"


def told(rule: str, places: list[str]) -> None:
    """Fail with every place that breaks a rule, one a line."""
    if places:
        pytest.fail("\n".join([f"{rule}:", *places]), pytrace=False)


def where(module: str, node: ast.AST) -> str:
    return f"{SOURCES[module].relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


# ---- docstrings ----


@cache
def classes() -> dict[str, ast.ClassDef]:
    """All classes of the package by their bare name."""
    return {
        node.name: node
        for module in SOURCES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    }


def bases(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    """The package's own classes that a class inherits from, near and far."""
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if name != node.name and (found := classes().get(name)):
            yield found
            yield from bases(found)


def inherits_text(owner: ast.ClassDef, method: str) -> bool:
    """Whether a base class documents the method: an override says only what differs."""
    return any(
        isinstance(node, Function) and node.name == method and ast.get_docstring(node)
        for base in bases(owner)
        for node in base.body
    )


def definitions(module: str) -> Iterator[tuple[str, ast.ClassDef | Function, ast.ClassDef | None]]:
    """Public classes, functions and methods of a module: (name, node, the class it is in)."""
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef | Function) and public(node.name):
            yield node.name, node, None
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.ClassDef | Function) and public(inner.name):
                    yield f"{node.name}.{inner.name}", inner, node


def is_setter(node: ast.AST) -> bool:
    """Whether it is the setter or overload of something documented elsewhere."""
    names = {
        part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "")
        for part in getattr(node, "decorator_list", [])
    }
    return bool(names & {"setter", "deleter", "overload"})


@MODULES
def test_everything_public_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(tree(module)), f"{SOURCES[module]} has no module docstring"
    if not public(module):
        return
    bare = [
        f"{where(module, node)} {name}"
        for name, node, owner in definitions(module)
        if not ast.get_docstring(node)
        and not is_setter(node)
        and not (owner is not None and inherits_text(owner, node.name))
    ]
    told("public, without a docstring", bare)


def raised(node: Function) -> Iterator[str]:
    """Names of the exceptions that a function's own body raises and does not catch (a `try` is taken to)."""
    stack: list[ast.AST] = list(node.body)
    while stack:
        part = stack.pop()
        if isinstance(part, ast.Raise) and part.exc is not None:
            error = part.exc.func if isinstance(part.exc, ast.Call) else part.exc
            name = error.attr if isinstance(error, ast.Attribute) else getattr(error, "id", "")
            if name.endswith(("Error", "StopIteration")):
                yield name
        if isinstance(part, ast.Try) and part.handlers:
            stack.extend([*part.handlers, *part.orelse, *part.finalbody])
        elif not isinstance(part, ast.ClassDef | Function | ast.Lambda):
            stack.extend(ast.iter_child_nodes(part))


@MODULES
def test_docstrings_tell_what_is_raised(module: str) -> None:
    if not public(module):
        return
    silent = []
    for name, node, _owner in definitions(module):
        if not isinstance(node, Function):
            continue
        text = ast.get_docstring(node) or ""
        missing = {error for error in raised(node) if error not in text} - {"NotImplementedError"}
        if text and missing:
            silent.append(f"{where(module, node)} {name}: {', '.join(sorted(missing))}")
    told("raised without a word in the docstring (Raises:)", silent)


# ---- sizes ----


def code_lines(node: Function) -> int:
    """Lines from `def` to the end, less the docstring."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    text = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - text


@MODULES
def test_modules_and_functions_are_small(module: str) -> None:
    length = len(SOURCES[module].read_text(encoding="utf-8").splitlines())
    long = [f"{where(module, tree(module))} the module: {length} lines"] if length > MODULE_LINES else []
    long += [
        f"{where(module, node)} {node.name}: {code_lines(node)} lines"
        for node in ast.walk(tree(module))
        if isinstance(node, Function) and code_lines(node) > FUNCTION_LINES
    ]
    told(f"longer than {MODULE_LINES} lines (a module) or {FUNCTION_LINES} (a function)", long)


# ---- imports ----


def test_every_folder_of_modules_is_a_package() -> None:
    """Without an __init__.py it would be missing from the wheel."""
    folders = {path.parent for path in SOURCES.values()}
    bare = [
        str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()
    ]
    told("without an __init__.py", bare)


def imported(module: str) -> Iterator[tuple[str, ast.AST]]:
    """Dotted names that a module imports, `from a import b` as a.b."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base]).rstrip(".")
            yield from ((f"{base}.{alias.name}", node) for alias in node.names)


@MODULES
def test_only_one_door_knows_taichis_internals(module: str) -> None:
    """Everything else uses `ti.<name>`, `ti.math` and `ti.types`: what Taichi documents."""
    if module.startswith("diffsim._taichi"):
        return
    inner = [
        f"{where(module, node)} {name}"
        for name, node in imported(module)
        if name.startswith("taichi.") and name.split(".")[1] in {"lang", "core"} | private(name)
    ]
    inner += [
        f"{where(module, node)} ti.{node.attr}"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"ti", "taichi"}
        and (node.attr == "lang" or node.attr.startswith("_"))
    ]
    told("reaches into Taichi; only diffsim/_taichi may", inner)


def private(name: str) -> set[str]:
    """Parts of a dotted name that start with an underscore."""
    return {part for part in name.split(".") if part.startswith("_")}


@MODULES
def test_the_library_imports_neither_its_facade_nor_what_stands_on_it(module: str) -> None:
    """diffsim finds simulators and tasks through entry points; only those that stand on it use its facade."""
    if module == "diffsim" or module.startswith(("diffsim.kernels", "diffsim.demos")):
        return
    submodules = {name.split(".")[1] for name in SOURCES if "." in name}
    wrong = []
    for name, node in imported(module):
        root, _, rest = name.partition(".")
        head = rest.split(".")[0]
        if root in {"kernels", "demos"} or (
            root == "diffsim" and (head not in submodules | {"__version__"} or head in {"kernels", "demos"})
        ):
            wrong.append(f"{where(module, node)} {name}")
    told("imports the facade, or what stands on the library, or a module that does not exist", wrong)


@MODULES
def test_nothing_starts_taichi_but_the_runtime(module: str) -> None:
    """`ti.init` is called by diffsim.runtime (or its one door to Taichi) alone."""
    if module == "diffsim.runtime" or module.startswith("diffsim._taichi"):
        return
    calls = [
        where(module, node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"ti.init", "taichi.init"}
    ]
    told("calls ti.init instead of diffsim.init", calls)
