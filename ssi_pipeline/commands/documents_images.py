"""The documents of ``--json`` of the commands on many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssi_pipeline.commands.documents import FORMAT, plain, plan_document, verify_document

if TYPE_CHECKING:
    from ssi_pipeline.results.collection import CollectionStatus
    from ssi_pipeline.run.images.planning import ImagesPlan
    from ssi_pipeline.run.images.verify import ImagesVerification
    from ssi_pipeline.storage.inputs.images import Catalogue, Image


def images_document(catalogue: Catalogue, chosen: Sequence[Image]) -> dict[str, Any]:
    """Return the document of ``ssi images``."""
    images = [
        {
            "name": i.name,
            "path": i.path,
            "well": i.well or None,
            "acquisition": i.acquisition,
            "scene": i.scene,
            "title": i.title or None,
        }
        for i in chosen
    ]
    return plain({"format": FORMAT, "path": catalogue.path, "kind": catalogue.kind, "images": images})


def images_plan_document(plan: ImagesPlan) -> dict[str, Any]:
    """Return the document of ``ssi plan`` of many images: ``plan`` is that of the first image of each kind."""
    kinds = [{"images": group.names, "plan": plan_document(group.prepared, None)} for group in plan.groups]
    return plain(
        {
            "format": FORMAT,
            "images": len(plan.collection.images),
            "tiles": plan.tiles,
            "bytes": {"written": plan.bytes_written},
            "kinds": kinds,
            "refused": [{"image": name, "reason": reason} for name, reason in plan.refused],
        }
    )


def images_status_document(status: CollectionStatus) -> dict[str, Any]:
    """Return the document of ``ssi status`` of many images."""
    from ssi_pipeline.results.collection import STATES

    counts: Mapping[str, int] = {str(state): count for state, count in status.counts.items()}
    return plain(
        {
            "format": FORMAT,
            "images": {"total": len(status.images), **{state: counts.get(state, 0) for state in STATES}},
            "tiles": {
                "total": status.total("tiles"),
                "done": status.total("tiles_done"),
                "failed": status.total("tiles_failed"),
                "flagged": status.total("flagged"),
            },
            "running": bool(status.client),
            "complete": status.complete,
            "solved_by": status.methods,
            "each": [
                {
                    "name": image.name,
                    "state": image.state,
                    "tiles": image.tiles,
                    "done": image.tiles_done,
                    "failed": image.tiles_failed,
                    "flagged": image.flagged,
                    "error": image.error or None,
                }
                for image in status.images
            ],
        }
    )


def images_verify_document(found: ImagesVerification) -> dict[str, Any]:
    """Return the document of ``ssi verify`` of many images."""
    each = {name: verify_document(result, None) for name, result in found.images.items()}
    return plain(
        {
            "format": FORMAT,
            "good": found.good,
            "pending_images": found.pending,
            "damage": found.damage,
            "errors": found.errors,
            "input_changed": found.changed,
            "images": each,
        }
    )
