"""Printing stages as Taichi kernels: one per stage (mode `step`) or segments of steps (mode `fused`)."""
