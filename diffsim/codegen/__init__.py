"""Printing stages as Taichi kernels: one kernel per stage (`step` mode) or whole segments of steps (`fused` mode)."""
