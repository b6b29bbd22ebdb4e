"""Graphs of anything: nodes, edges and clusters as Mermaid, DOT, and SVG with a layout of our own."""

from diffsim.view.graph.graph import Graph
from diffsim.view.graph.model import Cluster, Edge, Line, Node, Scale, Style

__all__ = ["Cluster", "Edge", "Graph", "Line", "Node", "Scale", "Style"]
