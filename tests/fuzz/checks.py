"""What must be true of a simulator given as text: values as in plain Python, gradients as by differences."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import plain
from fuzz.programs import STEPS

import diffsim as ds

__all__ = ["check", "load", "relative"]

WRT = ["x", "y", "v", "z", "q", "m", "p", "w", "u"]
WINDOW = 2
WORLDS = 7  # machine code has them in a register of eight: one is not there


def load(source: str, folder: Path, name: str) -> Any:
    """Write a module, import it and return its simulator."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return module.Program()
    finally:
        del sys.modules[name]


def relative(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    if not np.all(np.isfinite(a)) or not np.all(np.isfinite(b)):
        return np.inf
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), np.max(np.abs(b)), 1e-300))


def largest(gradients: dict[str, Any]) -> float:
    return max(float(np.max(np.abs(g))) for g in gradients.values())


def check(source: str, folder: Path, name: str, seed: int = 0, modes: str = "fused step windows") -> str:
    """Hold a program to everything that must be true of it; return "sure", or what could not be told.

    Args:
        source: The program.
        folder: Where its module goes.
        name: The module's name.
        seed: Of the directions in which it is differentiated.
        modes: Any of fused, step, windows, worlds, single (for a runtime of 32 bits) and singular (where
            plain Python ends in NaN or an error, values are not compared).
    """
    sim = load(source, folder, name)
    if "single" in modes:
        return check_single(source, sim, seed)
    first = ds.Rollout(sim, steps=STEPS, mode="fused" if "fused" in modes else "step")
    cost, gradients = first.value_and_grad(WRT)
    if "fused" in modes:  # the first run compares the two modes
        assert first.plan.mode == "fused", first.plan.reason
    if "singular" not in modes or is_regular(source, sim):
        check_values(source, sim, first, cost)
    both = "fused" in modes and "step" in modes
    second = ds.Rollout(sim, steps=STEPS, mode="step") if both else first
    results = second.value_and_grad(WRT) if both else (cost, gradients)
    if both:
        assert relative(cost, results[0]) < 1e-10, "fused and step give different costs"
        for key in WRT:
            difference = np.max(np.abs(gradients[key] - results[1][key]))
            assert difference <= 1e-10 * largest(gradients), f"fused and step differ in {key}"
    if "windows" in modes:
        mode = "fused" if "fused" in modes and seed % 4 == 0 else "step"
        check_windows(sim, mode, results if mode == "step" else (cost, gradients))
    if "worlds" in modes:
        check_worlds(sim, first, seed)
    found = check_slopes(first, gradients, seed)
    for rollout in {id(first): first, id(second): second}.values():
        rollout.close()
    return found


def is_regular(source: str, sim: Any) -> bool:
    """Tell whether plain Python gets through the program with finite numbers."""
    try:
        return np.isfinite(plain.trajectories(source, sim, STEPS)[0])
    except (ValueError, ArithmeticError):  # of NaN, roots and powers; an index out of range is told elsewhere
        return False


def check_values(source: str, sim: Any, rollout: ds.Rollout, cost: float) -> None:
    """Compare the cost and all States with plain Python, by a stand-in for Taichi and in mode python."""
    plainly = ds.Rollout(sim, STEPS, mode="python")
    assert relative(cost, plainly.value()) < 1e-10, "value in mode python"
    expected, states = plain.trajectories(source, sim, STEPS)
    assert relative(cost, expected) < 1e-10, f"value {cost} against {expected} in plain Python"
    for key in states:
        assert relative(rollout.trajectory(getattr(sim, key)), states[key]) < 1e-10, f"trajectory of {key}"


def check_windows(sim: Any, mode: str, stored: Any) -> None:
    """Compare a run cut into windows with one that keeps everything in memory: they are equal bit for bit."""
    windowed = ds.Rollout(sim, steps=STEPS, mode=mode, window=WINDOW)
    again, pieces = windowed.value_and_grad(WRT)
    assert again == stored[0], "windows change the cost"
    for key in WRT:
        assert np.array_equal(pieces[key], stored[1][key]), f"windows change the gradient of {key}"
    windowed.close()


def check_worlds(sim: Any, alone: ds.Rollout, seed: int) -> None:
    """Compare worlds that differ in `x` and `p` with runs of their own."""
    rng = np.random.default_rng(seed)
    start = {key: getattr(sim, key).numpy() for key in ("x", "p")}
    values = [{key: v + 0.2 * rng.normal(size=v.shape) for key, v in start.items()} for _ in range(WORLDS)]
    single = []
    for one in values:
        for key, value in one.items():
            getattr(sim, key).set(value)
        single.append(alone.value_and_grad(WRT))
    together = ds.Rollout(sim, steps=STEPS, mode=alone.plan.mode, worlds=WORLDS)
    for key in start:
        getattr(sim, key).set(np.array([one[key] for one in values]))
    costs, gradients = together.value_and_grad(WRT)
    assert relative(costs, [cost for cost, _ in single]) < 1e-12, "worlds change the cost"
    for key in WRT:
        parts = np.array([g[key] for _, g in single])
        each = getattr(sim, key).per_world
        wanted = parts.reshape(gradients[key].shape) if each else parts.sum(axis=0)
        scale = np.max(np.abs(parts)) + 1e-12
        error = np.max(np.abs(gradients[key] - wanted)) / scale
        assert error < 1e-10, f"worlds change the gradient of {key} by {error:.1e}"
    together.close()
    for key, value in start.items():
        getattr(sim, key).set(value)


# ---- differences ----


def slopes(rollout: ds.Rollout, direction: dict[str, Any]) -> list[float]:
    """Differentiate the cost along a direction by central differences of fourth order, at several steps."""
    fields = {leaf.key: leaf for leaf in rollout.leaves(list(direction))}
    start = {key: leaf.numpy() for key, leaf in fields.items()}

    def cost(h: float) -> float:
        for key, leaf in fields.items():
            leaf.set(start[key] + h * direction[key])
        return rollout.value()

    found = []
    for h in (1e-3, 1e-4, 1e-5, 1e-6):
        found.append((8 * (cost(h) - cost(-h)) - (cost(2 * h) - cost(-2 * h))) / (12 * h))
    for key, leaf in fields.items():
        leaf.set(start[key])
    return found


def check_slopes(rollout: ds.Rollout, gradients: dict[str, Any], seed: int) -> str:
    """Compare gradients with finite differences along two random directions, and more if those have kinks."""
    scale = largest(gradients)
    assert np.isfinite(scale), "a gradient is not finite"
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(6):
        direction = {key: rng.normal(size=g.shape) for key, g in gradients.items()}
        slope = sum(np.sum(g * direction[key]) for key, g in gradients.items())
        differences = slopes(rollout, direction)
        size = max(abs(slope), 1e-3 * scale, 1e-12)
        errors = [abs(d - slope) / size for d in differences]
        if min(errors) >= 1e-6:
            spread = min(abs(a - b) / size for a, b in itertools.pairwise(differences))
            kink = spread > 1e-5  # then there is nothing to compare with
            assert kink, f"gradient {slope}, differences {differences}"
        else:
            compared += 1
        if compared == 2:
            return "sure"
    return f"{compared} of 6 directions without kinks"


def check_single(source: str, sim: Any, seed: int) -> str:
    """Compare values and gradients in 32 bits with plain Python's and its differences, in 64."""
    rollout = ds.Rollout(sim, steps=STEPS, mode="fused" if seed % 2 else "step")
    cost, gradients = rollout.value_and_grad(WRT)
    expected, _ = plain.trajectories(source, sim, STEPS)
    scale = largest(gradients)
    rng = np.random.default_rng(seed)
    rollout.close()
    start = {key: getattr(sim, key).numpy().astype(np.float64) for key in WRT}
    close = []
    for _ in range(3):
        direction = {key: rng.normal(size=g.shape) for key, g in gradients.items()}
        slope = float(sum(np.sum(g * direction[key]) for key, g in gradients.items()))
        costs = []
        for sign in (1.0, -1.0):
            changed = {k: v + sign * 1e-6 * direction[k].reshape(v.shape) for k, v in start.items()}
            costs.append(plain.trajectories(source, sim, STEPS, changed)[0])
        difference = (costs[0] - costs[1]) / 2e-6
        close.append(abs(difference - slope) / max(abs(slope), abs(difference), 1e-2 * scale))
    assert abs(cost - expected) < 1e-3 * max(1.0, abs(expected)), f"value {cost} against {expected}"
    assert min(close) < 1e-2, f"slopes off by {close}"
    return "sure"
