"""Yardsticks: what diffsim is measured against, and the commands that measure it (see README.md)."""
