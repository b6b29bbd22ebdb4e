"""The whole of a simulator's stages: lowered in order, grouped, and with what must be zeroed."""
