"""Taichi's trees of fields, and the limits of its tables for them.

Every field belongs to a tree, and every level of one is an SNode. Taichi numbers the SNodes of a program
from 0, without end and never twice, and trees by numbers that are given anew when one is destroyed. Where a
tree is sparse it prepares tables for as many numbers as the tree has SNodes, from that of its root on: the
others must follow without a gap. There is room for 512 trees and 1024 SNodes of sparse ones. Else memory is
written that is not there, or is something else's: the process dies there, or later.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from typing import Any

import taichi as ti
from taichi.lang import impl, snode

from diffsim._taichi.deferred import started
from diffsim.errors import StateError

__all__ = [
    "begin_program",
    "begin_tree",
    "declared_at",
    "destroy_tree",
    "field_facts",
    "make_tree",
    "outside_tables",
    "snodes",
    "trees_left",
]

_MAX_SNODES, _MAX_TREES = 1024, 512  # taichi_max_num_snodes and kMaxNumSnodeTreesLlvm in its C++ source
_DENSE = ("SNodeType.root", "SNodeType.dense", "SNodeType.place")
_ONE_TREE = 32  # SNodes that a sparse field may be made of


class _Trees:
    """The trees of the running program.

    Attributes:
        thread: The one that started it, which alone can make and destroy trees; None where nobody said so.
        freed: Numbers of destroyed trees, which Taichi gives to the next ones.
        waiting: Trees to destroy that another thread had no more use for.
    """

    def __init__(self) -> None:
        self.thread: int | None = None
        self.freed: set[int] = set()
        self.waiting: list[Any] = []

    def begin(self) -> None:
        """Forget those of another program."""
        self.thread, self.freed, self.waiting = threading.get_ident(), set(), []

    @property
    def elsewhere(self) -> bool:
        """Tell whether this is another thread than theirs."""
        return self.thread not in (None, threading.get_ident())


_trees = _Trees()


def begin_program() -> None:
    """Prepare for a new program, whose trees and SNodes are numbered anew."""
    _trees.begin()
    for name in ("pointer", "bitmasked", "dynamic", "hash"):
        make = getattr(snode.SNode, name, None)
        if make is not None and not hasattr(make, "__wrapped__"):
            setattr(snode.SNode, name, _refusing_late(make))


def _refusing_late(make: Any) -> Any:
    """Make the making of a sparse SNode an error where Taichi has no room for it."""

    @functools.wraps(make)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.ptr.id + _ONE_TREE > _MAX_SNODES:
            raise StateError(
                f"sparse fields must be among the first {_MAX_SNODES} SNodes of a Taichi program, got others "
                "before them, those of rollouts included; make them before rollouts, or call diffsim.init() "
                "and begin anew"
            )
        return make(self, *args, **kwargs)

    return checked


def snodes() -> int:
    """Return how many SNodes there were in this program."""
    return int(impl._root_fb.root.ptr.id)


def outside_tables(field: Any) -> bool:
    """Tell whether a field has a sparse SNode that Taichi's runtime keeps no room for.

    Its tables have 1024 entries and SNodes are numbered without end: the first access would end the process.
    """
    node = field.snode.ptr
    while node is not None:
        if str(node.type) not in _DENSE and node.id >= _MAX_SNODES:
            return True
        node = node.parent
    return False


def declared_at(field: Any) -> tuple[str, int] | None:
    """Return the file and the line outside Taichi that made a field; None where it does not say."""
    told = getattr(field._get_field_members()[0], "declaration_tb", "")
    package = os.path.dirname(ti.__file__)
    places = re.findall(r'^  File "(.+)", line (\d+)', told, re.MULTILINE)
    outside = [(file, int(line)) for file, line in places if not file.startswith(package)]
    return outside[-1] if outside else None


def field_facts(field: Any) -> tuple[str, tuple[int, ...], bool] | None:
    """Return what decides how kernels may use a field; None where it has not been placed.

    The kind of a sparse SNode above it ("" for none), its offset, and whether it has an adjoint or is one.
    """
    place = node = field.vars[0].ptr.snode()
    if place is None:
        return None
    sparse = ""
    while node is not None:
        sparse = sparse or ("" if str(node.type) in _DENSE else str(node.type).rpartition(".")[2])
        node = node.parent
    return sparse, tuple(place.offset), bool(place.has_adjoint() or not place.is_primal())


def trees_left() -> int:
    """Return how many more trees Taichi has room for."""
    if not started():
        return _MAX_TREES
    return _MAX_TREES - int(impl.get_runtime().prog.get_snode_tree_size()) + len(_trees.freed)


def begin_tree() -> Any:
    """Return a builder of fields; what the user has placed under `ti.root` so far comes first.

    Raises:
        StateError: Taichi has no room for another tree, or this is another thread than that of `ds.init`.
    """
    if _trees.elsewhere:
        raise StateError(
            "the memory of rollouts and optimizers must be made in the thread that called diffsim.init, got "
            "another thread; run them once in that thread, or call init in the thread that works"
        )
    while _trees.waiting:
        destroy_tree(_trees.waiting.pop())
    if trees_left() < 2:  # one may be what is under `ti.root`
        raise StateError(
            f"rollouts must share the {_MAX_TREES} trees of fields that Taichi has room for, got none left; "
            "close rollouts that are not needed any more: rollout.close()"
        )
    impl.get_runtime().materialize()
    return impl.FieldsBuilder()


def make_tree(builder: Any) -> Any:
    """Make the fields of a builder and return their tree.

    Behind it `ti.root`, which is empty, gets a new number: with the old one a sparse field that the user
    places there would have a gap behind its root.
    """
    tree = builder.finalize()
    _trees.freed.discard(tree.id)
    impl.get_runtime().unfinalized_fields_builder.pop(impl._root_fb, None)
    impl._root_fb = impl.FieldsBuilder()
    return tree


def destroy_tree(tree: Any) -> None:
    """Free the memory of a field tree, which no kernel may touch any more.

    Taichi's own `destroy` makes every kernel of the program compile again, those of other rollouts too. In
    another thread than that of `ds.init`, which may be where garbage is collected, it has to wait.
    """
    if _trees.elsewhere:
        _trees.waiting.append(tree)
        return
    if not tree.destroyed and started() and tree.prog is impl.get_runtime().prog:
        _trees.freed.add(tree.id)
        tree.ptr.destroy_snode_tree(tree.prog)
        tree.destroyed = True
