"""Scenes in names: fields and arrays bound to names, the names listed, and scenes as JSON holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from dataclasses import MISSING
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.scene import Boxes, Camera, Curves, Grid, Lines, Points, Scene, Text, Triangles, Vectors

__all__ = ["bound", "bound_to", "from_plain", "names_in", "to_plain", "vectors_in"]

_REFS = {
    Points: ("positions", "radius", "values"),
    Lines: ("positions", "pairs", "values"),
    Triangles: ("positions", "faces", "values"),
    Boxes: ("centers", "sizes", "angles", "rotations", "values"),
    Grid: ("values",),
    Vectors: ("vectors", "positions", "values"),
    Text: (),
    Curves: ("values",),
}
_KINDS = {kind.__name__: kind for kind in _REFS}
_NEEDED = {(kind, f.name) for kind in _REFS for f in dataclasses.fields(kind) if f.default is MISSING}


def bound(scene: Any, name_of: Callable[[Any], str | None]) -> tuple[Scene, dict[str, NDArray[Any]]]:
    """Put names in the place of fields and arrays.

    Args:
        scene: A scene, a part or a list of parts.
        name_of: Returns the name of a field, of one that a text means, or of what is derived; None for
            others.

    Returns:
        The scene, whose references are names, and the arrays that were given as they are, by their names.

    Raises:
        ConfigError: A reference is neither a field nor an array.
    """
    whole = scene if isinstance(scene, Scene) else Scene(scene)
    stills: dict[str, NDArray[Any]] = {}
    parts = []
    for number, part in enumerate(whole.parts):
        changes: dict[str, Any] = {}
        for attribute in _REFS.get(type(part), ()):
            ref = getattr(part, attribute)
            if ref is None and (type(part), attribute) not in _NEEDED:
                continue
            name = name_of(ref)
            if name is None:
                name = f"scene.{number}.{attribute}"
                stills[name] = _array(ref, f"{type(part).__name__}.{attribute}")
            if ref is not name:
                changes[attribute] = name
        parts.append(dataclasses.replace(part, **changes) if changes else part)
    same = all(part is given for part, given in zip(parts, whole.parts, strict=True))
    return whole if same else dataclasses.replace(whole, parts=tuple(parts)), stills


def bound_to(known: Container[str], scene: Any) -> tuple[Scene, dict[str, NDArray[Any]]]:
    """Put names in the place of arrays, and of the fields that a trajectory was recorded of.

    Args:
        known: The names of the trajectory's arrays.
        scene: A scene, a part or a list of parts.

    Returns:
        As `bound`.

    Raises:
        ConfigError: A reference is neither a name, a field nor an array.
    """

    def name_of(ref: Any) -> str | None:
        if isinstance(ref, str):
            return ref
        key, kind = getattr(ref, "key", None), getattr(ref, "kind", "")  # of a field
        still = kind in ("param", "constant") and key not in known
        return key if isinstance(key, str) and key and not still else None

    return bound(scene, name_of)


def _array(ref: Any, what: str) -> NDArray[Any]:
    try:
        array = np.asarray(ref)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"{what} must be a field of the simulator or an array of numbers, got {ref!r}; name a field, as "
            "self.x"
        )
    return array


def vectors_in(scene: Scene) -> set[str]:
    """List the names that a bound scene refers to for places, ways and colours: the last axis has those."""
    attributes = ("positions", "centers", "sizes", "vectors")
    found = {getattr(part, a, None) for part in scene.parts for a in attributes}
    return {name for name in found if name} | {p.values for p in scene.parts if isinstance(p, Grid) and p.rgb}


def names_in(scene: Scene) -> list[str]:
    """List the names that a bound scene refers to, each once."""
    found = [getattr(p, a) for p in scene.parts for a in _REFS.get(type(p), ()) if getattr(p, a) is not None]
    return list(dict.fromkeys(found))


def to_plain(scene: Scene) -> dict[str, Any]:
    """Write a bound scene as JSON can hold it; what is as it is where nothing is told is left out."""
    return {**_told(scene), "parts": [{"kind": type(part).__name__, **_told(part)} for part in scene.parts]}


def _told(value: Any) -> dict[str, Any]:
    given = {f.name: (getattr(value, f.name), f.default) for f in dataclasses.fields(value)}
    return {name: _json(v) for name, (v, usual) in given.items() if name != "parts" and v is not usual}


def _json(value: Any) -> Any:
    if isinstance(value, Camera):
        return _told(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def from_plain(plain: Mapping[str, Any]) -> Scene:
    """Read what `to_plain` wrote, from JSON.

    Raises:
        ConfigError: It is nothing that it wrote.
    """
    try:
        given = {k: _tuples(v) for k, v in plain.items() if k not in ("parts", "camera")}
        parts = tuple(
            _KINDS[part["kind"]](**{k: _tuples(v) for k, v in part.items() if k != "kind"})
            for part in plain["parts"]
        )
        camera = plain.get("camera")
        view = None if camera is None else Camera(**{k: _tuples(v) for k, v in camera.items()})
        return Scene(parts=parts, camera=view, **given)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"a scene must have known parts, got {error!r}; make it anew") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
