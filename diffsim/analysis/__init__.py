"""Reading kernels: their syntax trees become the intermediate form, and what would break gradients is refused."""
