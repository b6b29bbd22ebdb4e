"""Pictures from arrays: pure functions that write a file and need no display.

Matplotlib and Pillow are imported when a picture is made, not before.
"""

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
