"""Trajectories: what fields with a time axis held, collected while a rollout runs forward."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer
from diffsim.engine.engine import Engine
from diffsim.language.fields import Field

__all__ = ["collect_frames"]


def collect_frames(engine: Engine, buffers: dict[str, Buffer], every: int) -> dict[str, NDArray[Any]]:
    """Run forward once and return every so many steps of each buffer, time first, then worlds if many.

    Args:
        engine: What runs.
        buffers: Of States, Scratches and Controls, under any names.
        every: Steps between frames.
    """
    frames: dict[str, list[NDArray[Any]]] = {name: [] for name in buffers}
    history = engine.plan.layout.history

    def observe(t0: int, n: int, last: bool) -> None:
        for name, buffer in buffers.items():
            if buffer.kind == "control":
                continue
            times = range(t0, t0 + n + (1 if last and buffer.kind == "state" else 0))
            shift = history - 1 if buffer.kind == "state" else 0
            slots = [t - t0 + shift for t in times if t % every == 0]
            if slots:
                stacked = np.stack([a[:, slots] for a in engine.storage.arrays(buffer)], axis=-1)
                frames[name].append(np.swapaxes(stacked, 0, 1))

    engine.forward(observe)
    return {name: _assembled(engine, buffer, frames[name], every) for name, buffer in buffers.items()}


def _assembled(engine: Engine, buffer: Buffer, parts: list[NDArray[Any]], every: int) -> NDArray[Any]:
    field: Field = buffer.source
    worlds = engine.plan.layout.worlds
    if buffer.kind == "control":
        values = np.stack(engine.storage.arrays(buffer), axis=-1)
        whole = (
            np.swapaxes(values, 0, 1) if buffer.per_world else np.repeat(values[:, None], worlds, axis=1)
        )[::every]
    else:
        whole = np.concatenate(parts)
    whole = whole.reshape(whole.shape[: 2 + len(field.shape)] + field.type.shape)
    return whole if worlds > 1 else whole[:, 0].copy()
