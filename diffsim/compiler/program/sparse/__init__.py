"""Sparse layouts, as programs over tables in dense memory, which are compiled as any other.

A table tells the slot of each block of the domain, or 0; a pool has a place for each slot's cells; a list has
the active blocks in the order of their slots. Before a kernel that writes sparse fields, a kernel made from
its index computation alone marks the blocks that it will write, and another one gives them slots, in the
order of the table. So topology is integers that a step computes; values and adjoints lie in pools, and the
adjoint of a kernel finds its cells where the kernel left them.
"""

from diffsim.compiler.program.sparse.lowering import place_sparse

__all__ = ["place_sparse"]
