"""Reading kernels: syntax trees become the intermediate form; what would break gradients is refused."""
