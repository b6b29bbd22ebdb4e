"""How kinds of fields, kernels and lines look; they differ in more than colour."""

from __future__ import annotations

from diffsim.view.graph import Line, Style
from diffsim.view.graph.model import Paint

__all__ = ["LINES", "STYLES", "style_of"]


def _style(label: str, light: str, dark: str, shape: str = "pill", dashed: bool = False) -> Style:
    return Style(label, Paint(*light.split()), Paint(*dark.split()), shape, dashed)


STYLES = {
    "kernel": _style("kernel", "#243b53 #243b53 #ffffff", "#d9e2ec #d9e2ec #102a43", "box"),
    "cost kernel": _style("kernel of the cost", "#486581 #486581 #ffffff", "#9fb3c8 #9fb3c8 #102a43", "box"),
    "group": _style(
        "method with its own adjoint", "#3e4c59 #f0b429 #ffffff", "#cbd2d9 #f0b429 #1f2933", "box"
    ),
    "state": _style("State", "#d6e6f7 #2b6cb0 #12314f", "#173653 #63a4e0 #dcebfa"),
    "scratch": _style("Scratch", "#eef2f6 #829ab1 #243b53", "#222b36 #829ab1 #d9e2ec"),
    "param": _style("Param", "#fde8b8 #b7791f #4a3005", "#4a3710 #e0a93b #fdf0d0", "hexagon"),
    "control": _style("Control", "#f9dcea #b83280 #521238", "#4b1f38 #e58abb #fbe3ef", "hexagon"),
    "constant": _style("Constant", "#ffffff #9aa5b1 #52606d", "#14181d #7b8794 #cbd2d9", "round"),
    "integer": _style("integers", "#f7f4ef #a08f72 #574a36", "#2b2721 #a08f72 #e8dfcf", "round", True),
    "cost": _style("cost", "#cdeedd #1f7a4d #0c3b24", "#153d2a #4fc48a #d3f5e3"),
    "dead": _style("no gradient arrives", "#f5f5f5 #b0b7bf #8a939d", "#20242a #5b6570 #8a939d", "pill", True),
    "operation": _style("operation", "#e3ebf3 #486581 #1f2933", "#26323f #829ab1 #e4e7eb", "round"),
    "flat": _style("no gradient", "#f5f5f5 #9aa5b1 #616e7c", "#1d2228 #616e7c #9aa5b1", "round", True),
    "stop": _style("cut", "#fde3df #c0392b #7a1d13", "#47201b #ef8e82 #fbdcd7", "round", True),
}

LINES = {
    "read": Line("read", "#627d98", "#829ab1", False, 1.5),
    "write": Line("written", "#243b53", "#d9e2ec", False, 2.0),
    "add": Line("added to (+)", "#1f7a4d", "#4fc48a", False, 2.0),
    "keep": Line("handed on", "#627d98", "#829ab1", False, 1.1),
    "flat": Line("has no gradient (constants, integers)", "#9aa5b1", "#616e7c", True, 1.2),
    "cut": Line("cut: no gradient flows back", "#c0392b", "#ef8e82", True, 1.7),
    "next": Line("next iteration", "#b7791f", "#e0a93b", False, 1.4),
}

_KINDS = {
    "state": "state",
    "scratch": "scratch",
    "param": "param",
    "control": "control",
    "cost": "cost",
    "workspace": "scratch",
}


def style_of(kind: str, differentiable: bool) -> str:
    """Return the style of a field.

    Args:
        kind: What it was declared as.
        differentiable: Whether gradients flow through it.
    """
    if kind == "cost":
        return "cost"
    if not differentiable:
        return "constant" if kind in ("constant", "external", "key") else "integer"
    return _KINDS.get(kind, "constant")
