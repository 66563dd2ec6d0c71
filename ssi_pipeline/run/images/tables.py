"""Carry the tables of a plate along (``output.carry``), once the output has all images of the plate."""

from __future__ import annotations

from pathlib import Path

from ssi_pipeline.errors import InputError
from ssi_pipeline.run.carry import refuse_tables
from ssi_pipeline.storage.inputs.images import list_images
from ssi_pipeline.storage.inputs.labels import names_in
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.outputs.carried import problem, recorded, table_files, write_carried
from ssi_pipeline.storage.outputs.output import set_status
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.words import size_of

_TABLES = "tables"


def describe_plate_tables(collection: Collection) -> str:
    """Return what becomes of the tables of a plate; empty where none are asked for, or there are none.

    Raises
    ------
    ConfigError, InputError
        They cannot be carried along.
    """
    group = _tables(collection)
    if group is None:
        return ""
    refuse_tables(collection.config, group)
    if left_out := _left_out(collection):
        return f"not carried along: {left_out} images of the plate are not in this run, and tables may be of all"
    return "carried along when all images are complete"


def carry_plate_tables(collection: Collection) -> list[str]:
    """Copy the tables of a plate whose images are all complete; returns a line if that was done.

    Raises
    ------
    InputError, CorruptDataError, OSError
        They cannot be read or written.
    """
    config, output = collection.config, collection.config.output.folder
    known = _TABLES in recorded(output)
    if known and problem(output, _TABLES, read=True) is None:
        return []
    group = _tables(collection)
    if group is None or _left_out(collection):
        if known:
            raise InputError(
                f"{output / _TABLES} has to be copied again, but plate {config.input.path} has lost its tables, or has "
                "more images than this run: put them back, or choose them by input.images"
            )
        return []
    refuse_tables(config, group)
    set_status(output, "incomplete")
    made = write_carried(output, _TABLES, table_files(group))
    return [f"tables of the plate carried along: {made['files']} files, {size_of(made['bytes'])}"]


def damaged_plate_tables(collection: Collection) -> list[str]:
    """Return a line if the copies of tables differ from what was written."""
    output = collection.config.output.folder
    found = problem(output, _TABLES, read=True) if _TABLES in recorded(output) else None
    return [] if found is None else [found]


def _tables(collection: Collection) -> ZarrNode | None:
    """Return the group of tables, if they are asked for and there are any."""
    config = collection.config
    if _TABLES not in config.output.carry or not collection.plate:
        return None
    group = read_node(config.input.path / _TABLES, f"input {config.input.path}, {_TABLES}")
    return group if group is not None and names_in(group, "tables") else None


def _left_out(collection: Collection) -> int:
    """Return the number of images of the plate that the run does not have."""
    path = collection.config.input.path
    assert isinstance(path, Path)  # many images are refused by URL
    return len({image.name for image in list_images(path).images} - {image.name for image in collection.images})
