"""Tasks that ship with diffsim: each one a simulator, something to optimise in it, and pictures."""
