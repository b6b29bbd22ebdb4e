"""Writing a rollout as an object file with a C header and a loader for Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim import _llvm, _taichi
from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.engine.native import Unsupported
from diffsim.engine.script import Script, written
from diffsim.errors import ConfigError, StateError
from diffsim.files import replacing
from diffsim.language.controls import Control
from diffsim.language.fields import Valued
from diffsim.plan.planning import adjoint_stages

if TYPE_CHECKING:
    from diffsim.rollout.inputs import Inputs

__all__ = ["export"]


def export(engine: Engine, inputs: Inputs, folder: str | os.PathLike[str], name: str, portable: bool) -> Path:
    """Write NAME.o, NAME.h and NAME.py, and libNAME.so where there is a C compiler; see `Rollout.export`.

    Raises:
        ConfigError: An argument is not allowed, or the folder cannot be written to.
        StateError: The rollout is of a kind that cannot be exported.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError(
            f"name must be an identifier of C, got {name!r}; use letters, digits and underscores"
        )
    if not isinstance(portable, bool):
        raise ConfigError(f"portable must be True or False, got {portable!r}; leave it out where unsure")
    _check(engine)
    plan, real = engine.plan, engine.info.real
    stages = adjoint_stages(engine.lowered, real, plan.steps, "fused")
    script = written(stages, plan, real, engine.lowered.backward)
    facts, first = _facts(engine, inputs, script, name)
    try:
        image = script.compile(name, first, _cost_of(engine), portable)
    except Unsupported as reason:
        raise StateError(
            f"a rollout must be of kernels that are compiled natively to be exported, got {reason}"
        ) from None
    target = Path(folder)
    files = {f"{name}.o": image, f"{name}.h": _header(facts).encode(), f"{name}.py": _loader(facts).encode()}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            with replacing(target / file) as temporary:
                temporary.write_bytes(content)
        _link(target, name)
    except OSError as error:
        raise ConfigError(
            f"folder must be one that can be written to, got {os.fspath(folder)!r} ({error.strerror}); name "
            "another"
        ) from error
    return target


def _check(engine: Engine) -> None:
    """Refuse what cannot be exported.

    Raises:
        StateError: There is no compiler, there are many worlds, or the memory is not one block's.
    """
    missing, plan = _llvm.why_missing(), engine.plan
    if missing:
        raise StateError(
            f"export must have llvmlite to compile with, got none ({missing}); pip install llvmlite"
        )
    if not engine.info.on_cpu:
        raise StateError("a rollout must be on the CPU to be exported, got one on a GPU; init(arch='cpu')")
    if engine.lowered.buffers.followed:
        found = next(iter(engine.lowered.buffers.followed.values()))
        raise StateError(
            f"a rollout must read declared fields to be exported, got {found.label}, a Taichi field made by "
            "hand; declare a ds.Constant(..., layout=ds.sparse(...))"
        )
    if plan.worlds > 1:
        raise StateError(
            f"a rollout must have one world to be exported, got {plan.worlds}; export one of worlds=1, and "
            "make a Simulation for each world"
        )
    if plan.schedule.places["host"] or plan.schedule.places["disk"]:
        raise StateError(
            "a rollout must keep its checkpoints in its own memory to be exported, got some on the host or "
            "on disk; leave host_memory and spill out"
        )


def _facts(
    engine: Engine, inputs: Inputs, script: Script, name: str
) -> tuple[dict[str, Any], dict[int, bytes]]:
    """Describe the memory for who uses it; return what inputs hold too, by place."""
    program, lowered = engine.lowered.program, engine.lowered
    found: dict[str, Any] = {"inputs": {}, "gradients": {}}
    first: dict[int, bytes] = {}
    for key, field in program.fields.items():
        if not isinstance(field, Valued):
            continue
        buffer = inputs.buffer(field)
        _keep(first, engine, script, buffer)
        if field.sparse is not None:  # its blocks stay as they are now
            continue
        found["inputs"][key] = _entry(engine, script, buffer, field)
        if buffer.adjoint is not None:
            found["gradients"][key] = _entry(engine, script, engine.gradient_buffer(buffer), field)
    if lowered.buffers.key is not None:  # random numbers stay those of the rollout's seed
        _keep(first, engine, script, lowered.buffers.key)
    for buffer in (b for topology in lowered.topologies for b in topology.given):
        _keep(first, engine, script, buffer)
    alarms = lowered.alarms
    board = alarms.buffer
    for _, made in lowered.buffers.arrays.values():
        _keep(first, engine, script, inputs.buffer(made))
    rules = [f"{alarm.where}: {alarm.rule}".removesuffix(", got") for alarm in alarms.all]
    return {
        "name": name,
        "simulator": type(program.simulator).__name__,
        "steps": engine.plan.steps,
        **found,
        "alarms": {
            "rules": rules,
            "dtype": _dtype(board),
            "shape": list(board.shape),
            "element": [],
            "places": [script.place(board)] if rules else [],
        },
    }, first


def _keep(first: dict[int, bytes], engine: Engine, script: Script, buffer: Buffer) -> None:
    """Note what a buffer holds now."""
    for c, array in enumerate(engine.storage.memory(buffer)):
        first[script.place(buffer, c)] = np.ascontiguousarray(array).tobytes()


def _cost_of(engine: Engine) -> Buffer:
    return engine.lowered.buffers.by_field[id(engine.lowered.program.simulator.cost)]


def _dtype(buffer: Buffer) -> str:
    return np.dtype(_taichi.NUMPY[buffer.dtype]).name


def _entry(engine: Engine, script: Script, buffer: Buffer, field: Valued) -> dict[str, Any]:
    time = [field.entries(engine.plan.steps)] if isinstance(field, Control) else []
    return {
        "dtype": _dtype(buffer),
        "shape": [*time, *field.element_shape],
        "element": list(field.type.shape),
        "places": [script.place(buffer, c) for c in range(buffer.components)],
    }


_HEADER = """\
/* {simulator}: value and gradient of {steps} steps, exported by diffsim.

   Everything is in one block of memory, {name}_bytes() long and aligned to 64 bytes; a block per thread.
   {name}_init zeroes it and puts in the inputs that were there at export. {name}_value runs the steps and
   returns the cost, {name}_gradient runs their adjoints too. Arrays are in the order of C, each component on
   its own. Link with -lm. */
#ifndef {guard}
#define {guard}
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif

int64_t {name}_bytes(void);
void {name}_init(void *memory);
double {name}_value(void *memory);
{gradient}
{alarm}
{inputs}
#ifdef __cplusplus
}}
#endif
#endif
"""
_ALARM = """
/* Which rule did not hold in the last run, from 1 on; 0 where all did. Put it out before the next run. */
static inline int {name}_alarm(void *memory) {{
  int32_t *board = (int32_t *)((char *)memory + {place});
  for (int k = 0; k < {count}; k++)
    if (board[3 * k]) return k + 1;
  return 0;
}}
static inline void {name}_put_out(void *memory) {{
  int32_t *board = (int32_t *)((char *)memory + {place});
  for (int k = 0; k < 3 * {count}; k++) board[k] = 0;
}}
{rules}"""
_C = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t"}


def _header(facts: dict[str, Any]) -> str:
    name, gradients = facts["name"], facts["gradients"]
    accessors = [
        _accessor(name, key, entry, suffix)
        for group, suffix in (("inputs", ""), ("gradients", "_grad"))
        for key, entry in facts[group].items()
    ]
    rules, alarm = facts["alarms"]["rules"], ""
    if rules:
        listed = "\n".join(f"/* {k + 1}: {rule.replace('*/', '* /')} */" for k, rule in enumerate(rules))
        place = facts["alarms"]["places"][0]
        alarm = _ALARM.format(name=name, place=place, count=len(rules), rules=listed)
    return _HEADER.format(
        **{key: facts[key] for key in ("simulator", "steps", "name")},
        guard=f"{name.upper()}_H",
        gradient=f"double {name}_gradient(void *memory);\n" if gradients else "",
        alarm=alarm,
        inputs="\n".join(accessors),
    )


def _accessor(name: str, key: str, entry: dict[str, Any], suffix: str) -> str:
    kind, places = _C[entry["dtype"]], entry["places"]
    axes = entry["shape"][: len(entry["shape"]) - len(entry["element"])]
    shape = "".join(f"[{n}]" for n in axes) or "[1]"
    parts = f", components {' x '.join(map(str, entry['element']))}" if entry["element"] else ""
    stride = places[1] - places[0] if len(places) > 1 else 0
    function = f"{name}_{re.sub(r'[^A-Za-z0-9]', '_', key)}{suffix}"
    return (
        f"/* {key}{' (gradient)' if suffix else ''}: {kind} {shape}{parts} */\n"
        f"static inline {kind} *{function}(void *memory, int component) {{\n"
        f"  return ({kind} *)((char *)memory + {places[0]} + (int64_t)component * {stride});\n}}"
    )


def _loader(facts: dict[str, Any]) -> str:
    source = Path(__file__).with_name("exported.py").read_text(encoding="utf-8")
    made = source.replace("FACTS: dict[str, Any] = {}", f"FACTS: dict[str, Any] = {facts!r}")
    return made.replace("NAME", facts["name"], 1)


def _link(folder: Path, name: str) -> None:
    """Link a shared library where there is a C compiler; else the loader does it when there is one."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform == "win32":
        return
    with replacing(folder / f"lib{name}.so") as temporary:
        command = [compiler, "-shared", str(folder / f"{name}.o"), "-lm", "-o", str(temporary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StateError(
                f"the C compiler must link {name}.o, got {done.stderr.strip()}; remove it or mend it"
            )
