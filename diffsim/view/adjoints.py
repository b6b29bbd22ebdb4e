"""Seeing gradients: the derivative of a cost by what moved, beside the motion."""

from __future__ import annotations

__all__ = ["adjoint_name", "adjoint_unit"]


def adjoint_name(name: str) -> str:
    """Return what the adjoint of an array is called."""
    return f"d cost / d {name}"


def adjoint_unit(unit: str) -> str:
    """Return the unit of an adjoint: that of the cost, which is a plain number, over the array's."""
    if not unit:
        return ""
    return f"1/({unit})" if any(mark in unit for mark in " */·") else f"1/{unit}"
