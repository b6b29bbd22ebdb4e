"""Words with numbers of the frame in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim.errors import ConfigError
from diffsim.view.paint.painter import Painter
from diffsim.view.paint.shot import Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space

__all__ = ["TextPainter"]


class TextPainter(Painter):
    """Says `ds.scene.Text`; the sheet writes it."""

    def __init__(self, part: Any, shot: Shot) -> None:
        super().__init__(part, shot)
        self.at = None if part.at is None else np.asarray(part.at, dtype=np.float64)
        if self.at is not None and self.at.shape not in ((2,), (3,)):
            raise ConfigError(
                f"Text.at must have 2 or 3 numbers, got {part.at!r}; leave it out for a line above"
            )
        self.dimension = None if self.at is None else len(self.at)
        self.words(0)

    def words(self, k: int) -> str:
        """Return the text of a frame.

        Raises:
            ConfigError: It names what is not there, or does not fit it.
        """
        arrays = _Frame(self.shot, k)
        try:
            return str(self.part.text).format_map(arrays)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            listed = ", ".join(self.shot.names) or "none"
            raise ConfigError(
                f"Text.text must fit the arrays {listed}, got {self.part.text!r}, which fails with "
                f"{type(error).__name__}: {error}; write for example {{x[0]:.2f}}"
            ) from None

    def reach(self) -> None:
        return None

    def tones(self) -> None:
        return None

    def plane(self, brush: Brush, k: int) -> None:
        return

    def space(self, space: Space, k: int) -> None:
        return


class _Frame(dict[str, Any]):
    """The arrays of a frame, made when they are asked for."""

    def __init__(self, shot: Shot, k: int) -> None:
        super().__init__()
        self._shot, self._k = shot, k

    def __missing__(self, name: str) -> Any:
        if name not in self._shot:
            raise KeyError(name)
        array = self._shot.frame(name, self._k)
        return array.item() if array.ndim == 0 else array
