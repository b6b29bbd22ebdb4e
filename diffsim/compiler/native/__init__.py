"""Printed kernels as machine code: their text, translated to LLVM's textual form.

A kernel's text is Python of which Taichi reads a small part: loops over ranges, branches, assignments of
scalar expressions to names and to places in memory. That part is what is read here, with Taichi's types and
promotions.
"""
