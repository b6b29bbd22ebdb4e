"""All contact with Taichi's internals and its quirks; `tests/ground/test_taichi.py` pins each use.

Importing this package imports Taichi with its banner and its version check silenced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffsim._taichi.carried import carried, carried_class
from diffsim._taichi.deferred import started
from diffsim._taichi.handmade import (
    Facts,
    Look,
    field_facts,
    is_dynamic,
    node_facts,
    outside_tables,
    place_id,
)
from diffsim._taichi.kernels import (
    brief_positions,
    build_kernel,
    compile_kernel,
    direct_launch,
    forget_arguments,
    forget_kernel,
    recording,
    release_source,
    unrecorded,
)
from diffsim._taichi.memory import address_views, field_rows, read_field, write_field
from diffsim._taichi.objects import (
    DTYPES,
    NUMPY,
    dtype_name,
    is_real_function,
    is_scalar_type,
    is_vector_type,
    kernel_function,
    ndrange_bounds,
    struct_members,
    struct_methods,
    taichi_function,
)
from diffsim._taichi.packages import FORGE, HOME, HOMELESS, is_a, package, running, use
from diffsim._taichi.program import current_program, default_real, finish, has_arch, initialise, wait
from diffsim._taichi.reverse import Answers, UserKernel, require_reverse, stack_size
from diffsim._taichi.spelling import at_home
from diffsim._taichi.spirv import largest_buffer, on_spirv
from diffsim._taichi.trees import (
    begin_tree,
    declared_at,
    destroy_tree,
    is_destroyed,
    make_tree,
    snodes,
    tree_stamp,
    trees_left,
    when_destroyed,
)

if TYPE_CHECKING:
    import taichi as ti
else:
    ti = HOME.ti
impl, kernel_impl = HOME.impl, HOME.kernel_impl

__all__ = [
    "DTYPES",
    "FORGE",
    "HOME",
    "HOMELESS",
    "NUMPY",
    "Answers",
    "Facts",
    "Look",
    "UserKernel",
    "address_views",
    "at_home",
    "begin_tree",
    "brief_positions",
    "build_kernel",
    "carried",
    "carried_class",
    "compile_kernel",
    "current_program",
    "declared_at",
    "default_real",
    "destroy_tree",
    "direct_launch",
    "dtype_name",
    "field_facts",
    "field_rows",
    "finish",
    "forget_arguments",
    "forget_kernel",
    "has_arch",
    "impl",
    "initialise",
    "is_a",
    "is_destroyed",
    "is_dynamic",
    "is_real_function",
    "is_scalar_type",
    "is_vector_type",
    "kernel_function",
    "kernel_impl",
    "largest_buffer",
    "make_tree",
    "ndrange_bounds",
    "node_facts",
    "on_spirv",
    "outside_tables",
    "package",
    "place_id",
    "read_field",
    "recording",
    "release_source",
    "require_reverse",
    "running",
    "snodes",
    "stack_size",
    "started",
    "struct_members",
    "struct_methods",
    "taichi_function",
    "ti",
    "tree_stamp",
    "trees_left",
    "unrecorded",
    "use",
    "wait",
    "when_destroyed",
    "write_field",
]
