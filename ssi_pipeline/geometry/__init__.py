"""Geometry: boxes, tiles, halos, blocks and the plan, in integer arithmetic without arrays."""

from ssi_pipeline.geometry.boxes import Box
from ssi_pipeline.geometry.cost import Cost, OutputSizes, estimate_cost
from ssi_pipeline.geometry.halo import network_radius, network_stride, wiener_radius
from ssi_pipeline.geometry.plan import make_plan
from ssi_pipeline.geometry.request import PatchNeeds, TileNeeds, TilingRequest
from ssi_pipeline.geometry.tiles import Block, Tile, TilePlan
from ssi_pipeline.geometry.volume import Volume

__all__ = [
    "Block",
    "Box",
    "Cost",
    "OutputSizes",
    "PatchNeeds",
    "Tile",
    "TileNeeds",
    "TilePlan",
    "TilingRequest",
    "Volume",
    "estimate_cost",
    "make_plan",
    "network_radius",
    "network_stride",
    "wiener_radius",
]
