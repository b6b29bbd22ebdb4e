"""What is refused, and what is watched while kernels run: order of accesses, races, indices, divisors."""
