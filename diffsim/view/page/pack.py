"""Arrays as text that a page can hold: whole numbers of few bits with a scale and an offset, in base64."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["exact", "json_for_html", "levels", "quantised"]

_TYPES = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "f32": np.float32, "f64": np.float64}
_BITS = {8: "u8", 16: "u16"}


def levels(bits: int) -> int:
    """Return how many steps a number of so many bits has from the lowest to the highest value.

    The code above them all stands for what is not finite.
    """
    return 2**bits - 2


def quantised(array: ArrayLike, bits: int = 16, limits: tuple[float, float] | None = None) -> dict[str, Any]:
    """Pack numbers with an error of at most half a step, `(high - low) / levels(bits) / 2`.

    Args:
        array: Any shape. What is not finite comes back as NaN.
        bits: 8 or 16.
        limits: Numbers beyond them come back as the nearest of the two; None for the smallest and largest.

    Returns:
        What `js/unpack.js` reads: shape, type, low, step and the codes.
    """
    values = np.asarray(array, dtype=np.float64)
    finite = np.isfinite(values)
    if limits is None:
        limits = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    low, high = limits
    count = levels(bits)
    step = high / count - low / count  # not of the difference, which may leave the range of numbers
    codes = np.full(values.shape, count + 1, dtype=_TYPES[_BITS[bits]])
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.rint(values[finite] / step - low / step) if step > 0.0 else np.zeros(int(finite.sum()))
        codes[finite] = np.clip(places, 0, count)
    return _packed(codes, _BITS[bits], low=low, step=step)


def exact(array: ArrayLike) -> dict[str, Any]:
    """Pack whole numbers of at most 32 bits without a sign, and other numbers in 64 bits, as they are."""
    values = np.asarray(array)
    if values.dtype.kind in "bui" and (values.size == 0 or (values.min() >= 0 and values.max() < 2**32)):
        largest = int(values.max()) if values.size else 0
        kind = "u8" if largest < 2**8 else "u16" if largest < 2**16 else "u32"
        return _packed(values.astype(_TYPES[kind]), kind)
    return _packed(values.astype(np.float64), "f64")


def _packed(codes: NDArray[Any], kind: str, **told: float) -> dict[str, Any]:
    text = base64.b64encode(np.ascontiguousarray(codes).astype(codes.dtype.newbyteorder("<")).tobytes())
    return {"shape": list(codes.shape), "type": kind, **told, "data": text.decode("ascii")}


def json_for_html(value: Any) -> str:
    """Write JSON that may stand in a script element: no text in it can end the element.

    What is not finite becomes null, and what JSON does not know its text.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value).encode("utf-8", "replace").decode()  # lone surrogates are no text
