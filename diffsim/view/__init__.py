"""Pictures from arrays: pure functions that write a file and need no display.

Matplotlib and Pillow are imported when a picture is made, not before.
"""

from diffsim.view.curves import cost_png
from diffsim.view.planar import robot_gif, robot_limits, robot_png

__all__ = ["cost_png", "robot_gif", "robot_limits", "robot_png"]
