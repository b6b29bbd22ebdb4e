"""What is refused of methods whose adjoint the user wrote."""

from __future__ import annotations

from diffsim.compiler.ir import Load, Stage, Store, walk
from diffsim.errors import GradientError

__all__ = ["check_stores", "check_zeroing"]


def check_stores(stages: list[Stage], name: str) -> None:
    """Refuse a method that stores fields in a loop that may end before: nobody knows then what was stored.

    Args:
        stages: What the method runs.
        name: What the user calls it.

    Raises:
        GradientError: A kernel in such a loop stores a field.
    """
    for stage in (s for s in stages if s.loop is not None and s.loop.until is not None):
        for op in walk(stage.body):
            if isinstance(op, Store) and op.ref.buffer.kind != "workspace":
                raise GradientError(
                    f"{op.where}: {name} must store fields outside of repeat(until=...), which may end "
                    f"before it, got a store to {op.ref.buffer.label}; store behind the loop [WORKSPACE]"
                )


def check_zeroing(stages: list[Stage], name: str) -> None:
    """Refuse a method that stores where a Workspace says: its adjoint runs when that holds other numbers.

    Args:
        stages: They zero the adjoints of what it stores.
        name: What the user calls it.

    Raises:
        GradientError: One of them reads a Workspace.
    """
    for op in (op for stage in stages for op in walk(stage.body)):
        if isinstance(op, Load) and op.ref.buffer.kind == "workspace":
            raise GradientError(
                f"{op.where}: {name} must store fields at places that do not depend on a Workspace, got an "
                f"index or a condition that reads {op.ref.buffer.label}; store everywhere, zero where none "
                "is meant [WORKSPACE]"
            )
