"""Graphs of anything: nodes, edges and clusters as Mermaid, DOT, and SVG with a layout of our own."""

from diffsim.view.graph.graph import ENDINGS, Graph, check_target
from diffsim.view.graph.model import Cluster, Edge, Line, Node, Paint, Scale, Style

__all__ = ["ENDINGS", "Cluster", "Edge", "Graph", "Line", "Node", "Paint", "Scale", "Style", "check_target"]
