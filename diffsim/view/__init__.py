"""Pictures from arrays: pure functions that write a file and need no display.

Modules are imported when one of their names is asked for, Matplotlib and Pillow when a picture is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffsim.view.brush import Brush, brushwork
    from diffsim.view.curves import cost_png
    from diffsim.view.default import default_scene
    from diffsim.view.exports import export
    from diffsim.view.film import (
        Film,
        color_bar,
        compare_png,
        film_file,
        film_gif,
        film_video,
        time_labels,
    )
    from diffsim.view.finite import missing_labels
    from diffsim.view.key import KEY, add_key
    from diffsim.view.look import animate, plot, show, still
    from diffsim.view.paint import films_of
    from diffsim.view.planar import robot_gif, robot_limits, robot_png
    from diffsim.view.shades import Shades

_WHERE = {
    "brush": ("Brush", "brushwork"),
    "curves": ("cost_png",),
    "default": ("default_scene",),
    "exports": ("export",),
    "film": ("Film", "color_bar", "compare_png", "film_file", "film_gif", "film_video", "time_labels"),
    "finite": ("missing_labels",),
    "key": ("KEY", "add_key"),
    "look": ("animate", "plot", "show", "still"),
    "paint": ("films_of",),
    "planar": ("robot_gif", "robot_limits", "robot_png"),
    "shades": ("Shades",),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "KEY",
    "Brush",
    "Film",
    "Shades",
    "add_key",
    "animate",
    "brushwork",
    "color_bar",
    "compare_png",
    "cost_png",
    "default_scene",
    "export",
    "film_file",
    "film_gif",
    "film_video",
    "films_of",
    "missing_labels",
    "plot",
    "robot_gif",
    "robot_limits",
    "robot_png",
    "show",
    "still",
    "time_labels",
]


def __getattr__(name: str) -> Any:
    """Import a name: a hundred modules would make every `import diffsim` a quarter slower."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
