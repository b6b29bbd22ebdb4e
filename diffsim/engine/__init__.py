"""Running plans: memory, launches, checkpoints."""
