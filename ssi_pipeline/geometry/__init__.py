"""Boxes, tiles, halos, blocks and the plan: pure integers, no arrays."""

from ssi_pipeline.geometry.boxes import Box
from ssi_pipeline.geometry.cost import Cost, estimate_cost
from ssi_pipeline.geometry.halo import network_radius, network_stride, required_halo, wiener_radius
from ssi_pipeline.geometry.plan import make_plan
from ssi_pipeline.geometry.tiles import Block, Tile, TilePlan
from ssi_pipeline.geometry.volume import Volume

__all__ = [
    "Block",
    "Box",
    "Cost",
    "Tile",
    "TilePlan",
    "Volume",
    "estimate_cost",
    "make_plan",
    "network_radius",
    "network_stride",
    "required_halo",
    "wiener_radius",
]
