"""Kernels as plain Python on NumPy memory, for mode `python`: nothing here is shared with the compiler."""
