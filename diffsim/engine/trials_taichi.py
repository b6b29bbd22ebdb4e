"""Trials of kernel texts in the guard's process, compiled by Taichi on fields of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from diffsim import _taichi
from diffsim.compiler.codegen.philox import FUNCTIONS

__all__ = ["TaichiTrials"]

_TEXTS = 512  # after so many Taichi is started again: it keeps something of each kernel


class TaichiTrials:
    """Compile and run texts on fields like those of the process that asks."""

    def __init__(self) -> None:
        self._options: list[Any] = []
        self._count = 0
        self._fields: dict[str, Any] = {}
        self._specs: dict[str, Any] = {}
        self._views: dict[str, NDArray[Any]] = {}
        self._trees: list[Any] = []
        self._kernels: dict[str, Callable[..., Any]] = {}

    def prepare(self, request: dict[str, Any]) -> None:
        """Start Taichi with the options of a request, and make the fields that are not there yet."""
        self._count += 1
        if request["options"] != self._options or self._count > _TEXTS:
            self.free()
            precision, threads, compiler = self._options = request["options"]
            _taichi.use(_taichi.FORGE if compiler == "forge" else _taichi.HOME.name)
            _taichi.initialise("cpu", precision, 0, threads, cache=False)
            self._count = 0
        self._allocate(request["fields"])

    def _allocate(self, specs: dict[str, Any]) -> None:
        """Make the fields that are not there yet; a spec is dtype, shape, and the matrix's shape if any."""
        if any(self._specs.get(name, spec) != spec for name, spec in specs.items()):
            self.free()
        ti = _taichi.running.ti
        made = {name: spec for name, spec in specs.items() if name not in self._specs}
        if not made:
            return
        builder, plain = _taichi.begin_tree(), []
        for name, (dtype, shape, element, _) in made.items():
            kind = _taichi.running.dtypes[dtype]
            if element is None:
                field = ti.field(kind)
                plain.append(name)
            elif len(element) == 1:
                field = ti.Vector.field(*element, kind)
            else:
                field = ti.Matrix.field(*element, kind)
            if shape:
                builder.dense(ti.axes(*range(len(shape))), shape).place(field)
            else:
                builder.place(field)
            self._fields[name], self._specs[name] = field, specs[name]
        self._trees.append(_taichi.make_tree(builder))
        plain = [name for name in plain if made[name][0] in _taichi.NUMPY]
        fields, shapes = [self._fields[n] for n in plain], [tuple(made[n][1]) for n in plain]
        views = _taichi.address_views(fields, shapes, [made[n][0] for n in plain])
        self._views.update(zip(plain, views, strict=True))

    def has(self, key: str) -> bool:
        """Tell whether a text was compiled."""
        return key in self._kernels

    def compile(self, request: dict[str, Any]) -> None:
        """Compile a text."""
        scope = FUNCTIONS | {name: self._fields[name] for name in request["fields"]}
        kernel = _taichi.build_kernel(request["source"], request["name"], scope)
        with _taichi.default_real(request["real"]):
            _taichi.compile_kernel(kernel, request["args"])
        _taichi.release_source(kernel)
        self._kernels[request["key"]] = kernel

    def fill(self, request: dict[str, Any], values: dict[str, NDArray[Any]]) -> None:
        """Give the fields of a text their numbers, zeros where none came."""
        for name in request["fields"]:
            part = values.get(name)
            if name in self._views:
                self._views[name][...] = 0 if part is None else part.reshape(self._views[name].shape)
            elif part is not None:
                _, shape, element, _ = self._specs[name]
                self._fields[name].from_numpy(part.reshape([*shape, *(element or ())]))
            else:
                self._fields[name].fill(0)

    def run(self, request: dict[str, Any]) -> None:
        """Run a text, and let go of it."""
        key = request["key"]
        with _taichi.default_real(request["real"]):
            self._kernels[key](*request["args"])
        _taichi.running.ti.sync()
        _taichi.forget_kernel(self._kernels.pop(key))

    @property
    def idle_bytes(self) -> int:
        """The memory of the fields, where no compiled text waits to be run on them."""
        return 0 if self._kernels else sum(view.nbytes for view in self._views.values())

    def free(self) -> None:
        """Free all fields, with what was compiled for them."""
        for kernel in self._kernels.values():
            _taichi.forget_kernel(kernel)
        self._views.clear()
        for table in (self._kernels, self._fields, self._specs):
            table.clear()
        for tree in self._trees:
            _taichi.destroy_tree(tree)
        self._trees.clear()
