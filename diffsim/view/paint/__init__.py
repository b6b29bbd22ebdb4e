"""Painters: what draws the parts of a scene, frame by frame, from recorded arrays."""

from diffsim.view.paint.films import films_of

__all__ = ["films_of"]
