"""What users write: simulators, their fields, the marks in their kernels, and how `step` is traced."""
