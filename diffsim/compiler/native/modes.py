"""How a processor treats the smallest numbers, while kernels run."""

from __future__ import annotations

__all__ = ["entered", "quick"]

_FLUSH_X86 = 0x8040  # results that are too small are zero, and so are such operands
_FLUSH_ARM = 1 << 24


def quick(triple: str) -> tuple[list[str], list[str], list[str]]:
    """Return instructions that make numbers below the normal range zero, some that undo it, and declarations.

    Processors are slow with such numbers, and a motion that dies down ends in them. Taichi's kernels make
    them zero too, and leave it at that in the thread that ran them; so results would depend on what
    ran before.

    Args:
        triple: The system, as LLVM calls it.
    """
    if triple.startswith(("x86_64", "i386", "i686")):
        return (
            [
                "  %mode = alloca i32",
                "  %mode.quick = alloca i32",
                "  call void @llvm.x86.sse.stmxcsr(ptr %mode)",
                "  %mode.old = load i32, ptr %mode",
                f"  %mode.new = or i32 %mode.old, {_FLUSH_X86}",
                "  store i32 %mode.new, ptr %mode.quick",
                "  call void @llvm.x86.sse.ldmxcsr(ptr %mode.quick)",
            ],
            ["  call void @llvm.x86.sse.ldmxcsr(ptr %mode)"],
            ["declare void @llvm.x86.sse.stmxcsr(ptr)", "declare void @llvm.x86.sse.ldmxcsr(ptr)"],
        )
    if triple.startswith(("aarch64", "arm64")):
        return (
            [
                "  %mode = call i64 @llvm.aarch64.get.fpcr()",
                f"  %mode.new = or i64 %mode, {_FLUSH_ARM}",
                "  call void @llvm.aarch64.set.fpcr(i64 %mode.new)",
            ],
            ["  call void @llvm.aarch64.set.fpcr(i64 %mode)"],
            ["declare i64 @llvm.aarch64.get.fpcr()", "declare void @llvm.aarch64.set.fpcr(i64)"],
        )
    return [], [], []


def entered(symbol: str, inner: str, arguments: int, triple: str) -> list[str]:
    """Return a function of integers and a table that calls another one in that mode.

    Args:
        symbol: What to call it.
        inner: The other one.
        arguments: How many integers there are.
        triple: The system, as LLVM calls it.
    """
    before, after, declarations = quick(triple)
    given = ", ".join([*(f"i32 %n{k}" for k in range(arguments)), "ptr %table"])
    return [
        *declarations,
        f"define void @{symbol}({given}) #0 {{",
        *before,
        f"  call void @{inner}({given})",
        *after,
        "  ret void",
        "}",
    ]
