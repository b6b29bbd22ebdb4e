"""Runs in a browser on this machine: one while it trains, and those of a folder."""

from diffsim.tasks.serving.live import Live
from diffsim.tasks.serving.server import Server, open_browser
from diffsim.tasks.serving.shelf import Shelf

__all__ = ["Live", "Server", "Shelf", "open_browser"]
