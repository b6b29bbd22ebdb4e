"""What every test stands on: the runtime, the markers, and the rule that a test prints nothing.

A test that computes asks for the fixture ``runtime``. Its precision is 64 and it has one thread; a module
that wants something else overrides the fixtures ``precision`` or ``threads``::

    @pytest.fixture(scope="module")
    def precision() -> int:
        return 32

or runs in both, the tests (and the module's own fixtures that use ``runtime``) repeated for each::

    @pytest.mark.parametrize("precision", [32, 64], scope="module")
    def test_value(runtime, precision): ...

A test marked ``layouts`` runs twice on a CPU: with memory and copies as they are there (``host``), and as
they are on a GPU (``device``), so that the branches of a GPU are tested where none is.
``DIFFSIM_LAYOUT=device`` runs whatever is chosen with the latter alone. Tests marked ``cpu`` hold for the
former only. The latter's kernels are Taichi's, as a GPU's are.

A test marked ``compilers`` runs twice on a CPU: its kernels made into machine code at once (``native``), and
by Taichi, which takes ten times as long and is what GPUs have. Of each room a few are marked. A module about
Taichi itself overrides the fixture ``compiler``; ``DIFFSIM_COMPILER=taichi`` runs whatever is chosen so, and
``DIFFSIM_COMPILER=forge`` by Taichi's fork.

A module whose programs nobody knows beforehand sets the fixture ``guard`` to True: a kernel that would kill
the process fails its test instead.

Simulators are compiled once per module: put them in fixtures of module scope that use ``runtime``. They are
torn down before the precision changes, because a new runtime ends all fields of the old one.

``DIFFSIM_TEST_ARCH`` names the backend: ``cpu`` (the default), ``cuda`` (``make test-gpu``) or ``vulkan``,
which has 32 bits alone: many tests ask for more, those marked ``core`` do not. Where the backend is the CPU,
these run with a GPU's layout in f64 and f32, and on Vulkan's software driver (tests/backends.py).
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest
from budgets import Costs, budgets
from hypothesis import HealthCheck, settings

import diffsim  # noqa: F401, ICN001  (before any test imports Taichi, whose banner it silences)
from diffsim._backends import GPUS
from diffsim._llvm import why_missing
from diffsim._taichi import HOME
from diffsim._vulkan import why_missing as why_no_vulkan
from diffsim.rollout.grad import misread

if TYPE_CHECKING:
    from diffsim.runtime import RuntimeInfo

ARCH = os.environ.get("DIFFSIM_TEST_ARCH", "cpu")
LAYOUT = os.environ.get("DIFFSIM_LAYOUT", "host")
COMPILER = os.environ.get("DIFFSIM_COMPILER", "auto")
BY_TAICHI = "forge" if HOME.is_forge else "taichi"  # where that has no wheel

# Mode `auto` follows fixed rules here, in processes that tests start too: what is measured on a busy machine
# differs from run to run. Tests of the measuring turn it on (ds.init(tune=True)).
os.environ["DIFFSIM_TUNE"] = "0"

# Plain Python, which check_grad compares values with, is slow: tests/plain looks at it, and tests/fuzz.
misread.SECONDS = 0.0

# Compiling takes seconds, so examples have no deadline; the same examples are drawn in each run.
settings.register_profile(
    "diffsim", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("diffsim")


# ---- the backend ----


def cuda_devices() -> int:
    """Number of CUDA devices that the driver offers, 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a backend that is not there: skipping all of its tests would look like success."""
    config.pluginmanager.register(Costs(), "costs")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell with what it runs behind its back
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if ARCH not in ("cpu", "cuda", "vulkan"):
        raise pytest.UsageError(f"DIFFSIM_TEST_ARCH must be cpu, cuda or vulkan, got {ARCH!r}")
    if ARCH == "vulkan" and why_no_vulkan():
        raise pytest.UsageError(f"DIFFSIM_TEST_ARCH=vulkan needs a Vulkan driver, and {why_no_vulkan()}")
    if ARCH == "cuda" and cuda_devices() == 0:
        raise pytest.UsageError(
            "DIFFSIM_TEST_ARCH=cuda needs a CUDA GPU and its driver; run `make test` for the CPU"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the largest parts, and skip what the chosen backend cannot run, with the reason.

    Processes take whole modules: one that begins late must be a short one, or the others wait for it.
    """
    sizes = budgets()
    items.sort(key=lambda item: -sizes.get("/".join(item.nodeid.split("/")[:2]), 0))
    marker, reason = {
        "cpu": ("gpu", "needs a CUDA GPU: make test-gpu"),
        "vulkan": ("cpu", "holds on the CPU only: make test"),
        "cuda": ("cpu", "holds on the CPU only: make test"),
    }[ARCH]
    if (ARCH, LAYOUT) == ("cpu", "device"):
        marker, reason = "cpu", "holds with the memory of a CPU only: make test"
    by_taichi = COMPILER in ("taichi", "forge")
    missing = "is about machine code, and DIFFSIM_COMPILER asks for Taichi" if by_taichi else ""
    missing = missing or why_missing()
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))
        if missing and item.get_closest_marker("native"):
            item.add_marker(pytest.mark.skip(reason=missing))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat tests marked `layouts` or `compilers` with each of them, where there is a choice."""
    markers = {marker.name for marker in metafunc.definition.iter_markers()}
    choice = (ARCH, LAYOUT) == ("cpu", "host")
    # indirect: else `runtime` would not be made anew where a test without the mark came before
    if choice and "layouts" in markers and "cpu" not in markers and "layout" in metafunc.fixturenames:
        metafunc.parametrize("layout", ["host", "device"], scope="module", indirect=True)
    if choice and COMPILER == "auto" and "compilers" in markers and "compiler" in metafunc.fixturenames:
        metafunc.parametrize(
            "compiler", [BY_TAICHI] if why_missing() else ["native", BY_TAICHI], scope="module", indirect=True
        )


@pytest.fixture(scope="session")
def arch() -> str:
    """Name of the backend under test: ``cpu``, ``cuda`` or ``vulkan``."""
    return ARCH


@pytest.fixture(scope="module")
def precision() -> int:
    """Bits of a real number, 32 or 64; override or parametrize (scope="module") to change it."""
    return 32 if ARCH == "vulkan" else 64


@pytest.fixture(scope="module")
def threads() -> int:
    """CPU threads of the runtime: one, so that sums come out the same each time; override to change it."""
    return 1


@pytest.fixture(scope="module")
def guard() -> bool:
    """Whether new kernels are tried in a child process first; override for programs that are not known."""
    return False


@pytest.fixture(scope="module")
def layout(request: pytest.FixtureRequest) -> str:
    """Whose memory layout the runtime has, of the ``host`` or a ``device``; see the marker ``layouts``."""
    return str(getattr(request, "param", LAYOUT))


@pytest.fixture(scope="module")
def compiler(request: pytest.FixtureRequest, layout: str, arch: str) -> str:
    """What makes machine code of kernels: ``native``, or ``taichi``; see the marker ``compilers``."""
    given = str(getattr(request, "param", COMPILER))
    if layout == "device" or arch != "cpu" or (given == "auto" and why_missing()):
        return given if given == "forge" else BY_TAICHI
    return "native" if given == "auto" else given


@pytest.fixture(scope="module")
def runtime(precision: int, threads: int, guard: bool, layout: str, compiler: str, arch: str) -> RuntimeInfo:
    """Taichi's runtime with this module's precision, threads and so on, started again when they change."""
    import diffsim as ds
    from diffsim.errors import StateError

    try:
        info = ds.runtime.info()
    except StateError:
        info = None
    as_device = layout == "device"
    wanted = (arch, precision, 0, compiler, as_device, guard, threads)[: 7 if arch == "cpu" else 4]
    # a guard that the backend cannot have counts as there
    guarded = info is not None and bool(info.guard or info.unguarded)
    name = info and (info.arch if info.arch in GPUS else "cpu")
    found = info and (
        name,
        info.precision,
        info.seed,
        info.compiler,
        info.device_layout,
        guarded,
        info.threads,
    )
    if found is None or found[: len(wanted)] != wanted:
        for name in (
            "last_exc",
            "last_value",
            "last_traceback",
        ):  # a failed test's frames keep its rollouts alive
            vars(sys).pop(name, None)
        gc.collect()
        # kernels of tests that are done may hold fields
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as environment:
            warnings.filterwarnings("ignore", "Taichi fields must be made after", RuntimeWarning)
            environment.setenv("DIFFSIM_LAYOUT", layout)
            ds.init(
                arch=arch,
                precision=precision,
                seed=0,
                threads=threads if arch == "cpu" else None,
                guard=guard,
                compiler=compiler,
            )
        info = ds.runtime.info()
    return info


# ---- the smallest numbers ----

_USUAL = """define void @usual() {
  %mode = alloca i32
  store i32 8064, ptr %mode
  call void @llvm.x86.sse.ldmxcsr(ptr %mode)
  ret void
}
declare void @llvm.x86.sse.ldmxcsr(ptr)
"""


@pytest.fixture(scope="session")
def usual_mode() -> Callable[[], object]:
    """Set the processor's usual way with numbers below the normal range."""
    from diffsim import _llvm

    if _llvm.why_missing() or not _llvm.triple().startswith("x86_64"):
        return lambda: None
    code = _llvm.load(_llvm.compile_object(_USUAL, 0), "usual")
    return lambda code=code: ctypes.CFUNCTYPE(None)(code.address)()


# ---- no stray output ----


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Bring out what C code still buffers (a kernel's print) while its own test is being captured."""
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a passed test that wrote to standard output or error without having read it back or being marked.

    pytest captures at the level of file descriptors, so this sees what Taichi's C++ side writes too. A test
    that means to look at output uses capfd, capsys or a subprocess; what it leaves unread counts as stray.
    """
    report = yield
    if not report.passed or item.get_closest_marker("output"):
        return report
    phases = ("teardown",) if report.when == "teardown" else ("setup", "call")
    titles = {f"Captured {stream} {phase}" for stream in ("stdout", "stderr") for phase in phases}
    stray = "".join(text for title, text in report.sections if title in titles)
    if stray and report.when != "setup":
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} must print nothing, got {stray!r}; silence it or mark it with `output`"
        )
    return report
