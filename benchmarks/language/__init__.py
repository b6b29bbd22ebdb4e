"""Small programs in the shapes of public ones, as plain Taichi and as simulators with the same kernels."""
