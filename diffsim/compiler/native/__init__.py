"""The compiler for CPUs that needs no Taichi: from the text of a kernel to machine code."""
