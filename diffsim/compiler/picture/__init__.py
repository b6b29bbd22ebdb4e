"""Programs as graphs: a step as kernels and fields, a kernel as its operations."""

from diffsim.compiler.picture.kernel import kernel_graph, kernel_stages
from diffsim.compiler.picture.step import Heat, step_graph

__all__ = ["Heat", "kernel_graph", "kernel_stages", "step_graph"]
