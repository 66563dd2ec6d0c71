"""What the output of many images has to list, from what is there."""

from __future__ import annotations

from collections.abc import Mapping

from ssi_pipeline.results.collection import CollectionStatus, ImageStatus, image_status
from ssi_pipeline.storage.outputs.collection import Layout
from ssi_pipeline.storage.outputs.output import read_provenance
from ssi_pipeline.storage.outputs.zarr_metadata import read_attributes
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.storage.state.marker import read_marker


def layout_of(collection: Collection, known: Mapping[str, ImageStatus]) -> Layout:
    """Return the layout with the images that have an output; ``known``: status of some, by name."""
    section = collection.config.output
    there = [image for image in collection.images if read_attributes(section.path / image.name) is not None]
    states = [known.get(image.name) or image_status(collection, image) for image in collection.images]
    status = "complete" if CollectionStatus(tuple(states)).complete else "incomplete"
    token, provenance = read_marker(collection.paths.root) or "", read_provenance(section.path)
    return Layout(section.ome_zarr, there, collection.plate, status, token, provenance)
