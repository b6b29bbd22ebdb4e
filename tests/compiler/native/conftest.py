"""What tests of machine code start from."""

import ctypes

import pytest

_USUAL = """define void @usual() {
  %mode = alloca i32
  store i32 8064, ptr %mode
  call void @llvm.x86.sse.ldmxcsr(ptr %mode)
  ret void
}
declare void @llvm.x86.sse.ldmxcsr(ptr)
"""


@pytest.fixture(scope="session")
def usual_mode():
    """Set the processor's usual way with numbers below the normal range."""
    from diffsim import _llvm

    if _llvm.why_missing() or not _llvm.triple().startswith("x86_64"):
        return lambda: None
    code = _llvm.load(_llvm.compile_object(_USUAL, 0), "usual")
    return lambda code=code: ctypes.CFUNCTYPE(None)(code.address)()


@pytest.fixture(autouse=True)
def _as_usual(usual_mode):
    """Begin each test so: Taichi's kernels leave the thread that ran them in another mode."""
    usual_mode()
