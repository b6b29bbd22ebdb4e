"""A window of Taichi's that plays a film."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diffsim.view.window import Player

__all__ = ["taichi_window"]


def taichi_window(player: Player, title: str) -> bool:
    """Play frames in a window of Taichi's until it is closed.

    Args:
        player: The frames.
        title: Of the window.

    Returns:
        Whether the window could be opened.
    """
    import taichi as ti

    image = _turned(player.frame())
    try:
        gui: Any = ti.GUI(title or "diffsim", res=image.shape[:2], show_gui=True)
    except RuntimeError:  # no display that Taichi knows: another way is tried
        return False
    keys = {ti.GUI.LEFT: "left", ti.GUI.RIGHT: "right", ti.GUI.SPACE: "space", "Home": "home"}
    while gui.running:
        for event in gui.get_events(ti.GUI.PRESS):
            if event.key == ti.GUI.ESCAPE:
                gui.running = False
            player.press(keys.get(event.key, str(event.key)))
        gui.set_image(_turned(player.frame()))
        gui.show()
    gui.close()
    return True


def _turned(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with x as its first axis and y upwards, as Taichi shows them."""
    return np.ascontiguousarray(picture[::-1, :, :3].transpose(1, 0, 2))
