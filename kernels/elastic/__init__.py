"""Soft bodies, in the plane and in space, with muscles or without: thrown, or crawling and walking."""

from diffsim.kernels.elastic.scenes import ElasticConfig, Scene, block, crawler, hills, walker
from diffsim.kernels.elastic.simulator import Elastic

__all__ = ["Elastic", "ElasticConfig", "Scene", "block", "crawler", "hills", "walker"]
