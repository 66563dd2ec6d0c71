"""Plan many images: images of equal shape and metadata are planned once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from ssi_pipeline.errors import ConfigError, InputError, OutputError, SsiError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.run.images.checks import check_collection
from ssi_pipeline.run.images.tables import describe_plate_tables
from ssi_pipeline.run.planning import describe_plan
from ssi_pipeline.run.prepare import Prepared, prepare
from ssi_pipeline.storage.inputs.source import open_source, spec_of
from ssi_pipeline.storage.inputs.stack import refuse_other_volume
from ssi_pipeline.storage.mount import existing_parent
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.words import size_of

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Group:
    """Images of equal axes, shape, dtype and voxel size: their names, and the plan of the first."""

    names: tuple[str, ...]
    prepared: Prepared

    @property
    def tiles(self) -> int:
        """Tiles of all of them."""
        return len(self.names) * self.prepared.document.plan.n_tiles

    @property
    def bytes_written(self) -> int:
        """Uncompressed bytes of all of them, with their pyramids."""
        return len(self.names) * (self.prepared.cost.bytes_written + self.prepared.cost.bytes_pyramid)


@dataclass(frozen=True, slots=True)
class ImagesPlan:
    """The plan of many images.

    ``refused``: (name, reason) of those that would not start. ``tables``: what becomes of the tables of a plate.
    """

    collection: Collection
    groups: tuple[Group, ...]
    refused: tuple[tuple[str, str], ...]
    tables: str = ""

    @property
    def tiles(self) -> int:
        """Tiles of all images."""
        return sum(group.tiles for group in self.groups)

    @property
    def bytes_written(self) -> int:
        """Uncompressed bytes of the whole output."""
        return sum(group.bytes_written for group in self.groups)


def plan_images(collection: Collection) -> ImagesPlan:
    """Open every image, and plan one of each kind; nothing is written.

    Raises
    ------
    SsiError
        The run could not start, or no image could.
    """
    check_collection(collection, new=False)
    kinds: dict[Volume, list[str]] = {}
    refused: list[tuple[str, str]] = []
    for image in collection.images:
        try:
            volume = open_source(spec_of(collection.config_of(image).input)).volume
            kinds.setdefault(volume, []).append(image.name)
        except (SsiError, OSError) as error:
            refused.append((image.name, str(error)))
    if not kinds:
        raise InputError(f"none of the {len(collection.images)} images can be read; {refused[0][0]}: {refused[0][1]}")
    if collection.config.input.share != "nothing":
        _refuse_different(collection, list(kinds.items()), refused)
    alone, groups = _alone(collection), []
    for names in kinds.values():
        image = next(image for image in collection.images if image.name == names[0])
        try:
            groups.append(Group(tuple(names), prepare(alone.config_of(image))))
        except ConfigError:
            raise  # it is that of all images
        except SsiError as error:
            refused += [(name, str(error)) for name in names]
    return ImagesPlan(collection, tuple(groups), tuple(refused), describe_plate_tables(collection))


def _alone(collection: Collection) -> Collection:
    """Return the collection with images that share nothing: what they will share need not have been found yet."""
    return Collection(collection.config.without_sharing(), collection.images, collection.plate)


def _refuse_different(
    collection: Collection, kinds: list[tuple[Volume, list[str]]], refused: list[tuple[str, str]]
) -> None:
    first, names = kinds[0]
    for volume, others in kinds[1:]:
        refuse_other_volume(volume, others[0], first, names[0])
    if refused:
        raise InputError(
            f"input.share is {collection.config.input.share}, but {refused[0][0]} is refused: {refused[0][1]}"
        )


def check_disk(plan: ImagesPlan) -> None:
    """Refuse a disk that is too small.

    Raises
    ------
    OutputError
        The output may need more than is free.
    """
    parent = existing_parent(plan.collection.config.output.folder)
    free = shutil.disk_usage(parent).free
    if plan.bytes_written > free:
        raise OutputError(
            f"the images may need {size_of(plan.bytes_written)} at {parent} (uncompressed), but only {size_of(free)} "
            "are free: free some space, choose another output.path, or, if the data compress well, run with "
            "--ignore-disk"
        )


def describe_images_plan(plan: ImagesPlan) -> list[tuple[str, str]]:
    """Return the rows of the plan of all images, then those of the first of each kind."""
    config = plan.collection.config
    images = plan.collection.images
    rows = [
        ("images", f"{len(images)} of {config.input.path}: {images[0].name} to {images[-1].name}"),
        ("output", f"{config.output.folder}: OME-Zarr {config.output.ome_zarr}, {_kind(plan.collection)}"),
        (
            "shared",
            {"calibration": "calibration", "network": "calibration and network"}.get(config.input.share, "nothing"),
        ),
        *([("tables of the plate", plan.tables)] if plan.tables else []),
        ("tiles", f"{plan.tiles} of {sum(len(group.names) for group in plan.groups)} images"),
        ("written", f"up to {size_of(plan.bytes_written)} (uncompressed)"),
        *((f"{name} refused", reason) for name, reason in plan.refused[:_SHOWN]),
    ]
    if len(plan.refused) > _SHOWN:
        rows.append(("", f"and {len(plan.refused) - _SHOWN} more are refused"))
    for group in plan.groups[:_SHOWN]:
        more = f" and {len(group.names) - 1} like it" if len(group.names) > 1 else ""
        rows += [("", ""), ("image", f"{group.names[0]}{more}"), *describe_plan(group.prepared, None)]
    if len(plan.groups) > _SHOWN:
        rows.append(("", f"and {len(plan.groups) - _SHOWN} more kinds of image"))
    return rows


def _kind(collection: Collection) -> str:
    return "a plate" if collection.plate else "a series of images"
