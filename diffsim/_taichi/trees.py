"""Taichi's trees of fields, and the limits of its tables for them.

Every field belongs to a tree, and every level of one is an SNode. Taichi numbers the SNodes of a program
from 0, without end and never twice, and trees by numbers that are given anew when one is destroyed. Where a
tree is sparse it prepares tables for as many numbers as the tree has SNodes, from that of its root on: the
others must follow without a gap. There is room for 512 trees and 1024 SNodes of sparse ones. Else memory is
written that is not there, or is something else's: the process dies there, or later.
"""

from __future__ import annotations

import functools
import gc
import os
import re
import threading
from collections.abc import Callable
from typing import Any

from diffsim._taichi.deferred import started
from diffsim._taichi.handmade import MAX_SNODES
from diffsim._taichi.packages import is_a, running
from diffsim._taichi.spirv import on_spirv
from diffsim.errors import StateError

__all__ = [
    "begin_program",
    "begin_tree",
    "declared_at",
    "destroy_tree",
    "is_destroyed",
    "make_tree",
    "snodes",
    "tree_stamp",
    "trees_left",
    "when_destroyed",
]

_MAX_TREES = 512  # kMaxNumSnodeTreesLlvm in its C++ source
_ONE_TREE = 32  # SNodes that a sparse field may be made of


class _Trees:
    """The trees of the running program.

    Attributes:
        thread: The one that started it, which alone can make and destroy trees; None where nobody said so.
        freed: Numbers of destroyed trees, which Taichi gives to the next ones.
        waiting: Trees to destroy that another thread had no more use for.
        ended: How many trees with a number were destroyed by users.
        retire: Given the fields that were in them.
    """

    def __init__(self) -> None:
        self.thread: int | None = None
        self.freed: set[int] = set()
        self.waiting: list[Any] = []
        self.ended: dict[int, int] = {}
        self.retire: Callable[[list[Any]], None] = lambda fields: None

    def begin(self) -> None:
        """Forget those of another program."""
        self.thread, self.freed, self.waiting = threading.get_ident(), set(), []
        self.ended = {}

    @property
    def elsewhere(self) -> bool:
        """Tell whether this is another thread than theirs."""
        return self.thread not in (None, threading.get_ident())


_trees = _Trees()


def begin_program() -> None:
    """Prepare for a new program, whose trees and SNodes are numbered anew."""
    _trees.begin()
    tree = running.snode_tree.SNodeTree
    if not hasattr(tree.destroy, "__wrapped__"):
        tree.destroy = _counting(tree.destroy)
    refusals = (running.snode.SNode, _refusing_late), (running.builders.FieldsBuilder, _refusing_sparse)
    for name in ("pointer", "bitmasked", "dynamic", "hash"):
        for kind, refusing in refusals:
            make = getattr(kind, name, None)
            if make is not None and not hasattr(make, "__wrapped__"):
                setattr(kind, name, refusing(make))


def _counting(destroy: Any) -> Any:
    """Let the destruction of a tree by its user be counted."""

    @functools.wraps(destroy)
    def counted(self: Any) -> None:
        if not self.destroyed and started() and self.prog is running.impl.get_runtime().prog:
            _trees.ended[self.id] = _trees.ended.get(self.id, 0) + 1
            _trees.retire([field for field in _fields() if _number(field) == self.id])
        destroy(self)

    return counted


def _fields() -> list[Any]:
    """Return all fields that somebody holds and that are still there."""
    # and no kind made of them, which stands for one that is gone
    kinds = running.ti.ScalarField, running.ti.MatrixField
    return [o for o in gc.get_objects() if type(o) in kinds]


def _number(field: Any) -> int | None:
    """Return the number of a field's tree, None where it has not been placed."""
    place = field.vars[0].ptr.snode()
    return None if place is None else int(place.get_snode_tree_id())


def when_destroyed(act: Callable[[list[Any]], None]) -> None:
    """Let something be done with the fields of trees that users destroy, before their memory is freed."""
    _trees.retire = act


def tree_stamp(thing: Any) -> tuple[int, int]:
    """Return what tells the tree of a field or an SNode from those that get its number later."""
    node = thing.snode.ptr if is_a(thing, "Field") else thing.ptr
    number = int(node.get_snode_tree_id())
    return number, _trees.ended.get(number, 0)


def is_destroyed(stamp: tuple[int, int]) -> bool:
    """Tell whether the user has destroyed the tree of such a stamp since."""
    return _trees.ended.get(stamp[0], 0) != stamp[1]


def _refusing_late(make: Any) -> Any:
    """Make the making of a sparse SNode an error where Taichi has no room for it."""

    @functools.wraps(make)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.ptr.id + _ONE_TREE > MAX_SNODES:
            raise StateError(
                f"sparse fields must be among the first {MAX_SNODES} SNodes of a Taichi program, got others "
                "before them, those of rollouts included; make them before rollouts, or call diffsim.init() "
                "and begin anew"
            )
        return make(self, *args, **kwargs)

    return checked


def _refusing_sparse(make: Any) -> Any:
    """Make the making of a sparse SNode an error where Taichi has none, with what to do instead."""

    @functools.wraps(make)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if on_spirv():
            raise StateError(
                f"fields on Vulkan must be dense, got a {make.__name__} SNode, which Taichi has not there; "
                "use ds.Scratch(..., layout=ds.sparse()), or arch='cpu' or 'cuda'"
            )
        return make(self, *args, **kwargs)

    return checked


def snodes() -> int:
    """Return how many SNodes there were in this program."""
    return int(running.impl._root_fb.root.ptr.id)


def declared_at(field: Any) -> tuple[str, int] | None:
    """Return the file and the line outside Taichi that made a field; None where it does not say."""
    told = getattr(field._get_field_members()[0], "declaration_tb", "")
    package = os.path.dirname(running.ti.__file__)
    places = re.findall(r'^  File "(.+)", line (\d+)', told, re.MULTILINE)
    outside = [(file, int(line)) for file, line in places if not file.startswith(package)]
    return outside[-1] if outside else None


def trees_left() -> int:
    """Return how many more trees Taichi has room for."""
    if not started():
        return _MAX_TREES
    return _MAX_TREES - int(running.impl.get_runtime().prog.get_snode_tree_size()) + len(_trees.freed)


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
    running.impl.get_runtime().materialize()
    return running.impl.FieldsBuilder()


def make_tree(builder: Any) -> Any:
    """Make the fields of a builder and return their tree.

    Behind it `ti.root`, which is empty, gets a new number: with the old one a sparse field that the user
    places there would have a gap behind its root.
    """
    tree = builder.finalize()
    _trees.freed.discard(tree.id)
    impl = running.impl
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
    if not tree.destroyed and started() and tree.prog is running.impl.get_runtime().prog:
        _trees.freed.add(tree.id)
        tree.ptr.destroy_snode_tree(tree.prog)
        tree.destroyed = True
