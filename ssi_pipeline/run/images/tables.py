"""Carry the tables of a plate along (``output.carry``), once the output has all images of the plate."""

from __future__ import annotations

import shutil
from pathlib import Path

from ssi_pipeline.errors import InputError
from ssi_pipeline.run.carry import refuse_tables
from ssi_pipeline.storage.inputs.images import list_images
from ssi_pipeline.storage.inputs.labels import names_in
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode, read_node
from ssi_pipeline.storage.outputs.carried import forget_carried, problem, recorded, table_files, write_carried
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
    group = _tables(collection) if _TABLES in collection.config.output.carry else None
    if group is None:
        return ""
    refuse_tables(collection.config, group)
    if left_out := _left_out(collection):
        return f"not carried along: {left_out} images of the plate are not in this run, and tables may be of all"
    return "carried along when all images are complete"


def carry_plate_tables(collection: Collection) -> list[str]:
    """Copy the tables of a plate whose images are all complete; returns a line for what was done.

    A copy of before images joined is replaced, or removed where the plate has others that the run does not have.

    Raises
    ------
    InputError, CorruptDataError, OSError
        They cannot be read or written.
    """
    config, output = collection.config, collection.config.output.folder
    known = _TABLES in recorded(output)
    if not known and _TABLES not in config.output.carry:
        return []
    if known and problem(output, _TABLES, read=True) is None:
        return []
    group = _tables(collection)
    if group is None:
        if known:
            raise InputError(
                f"{output / _TABLES} has to be copied again, but input {config.input.path} has no tables any more: put "
                "them back"
            )
        return []
    left_out = _left_out(collection)
    if left_out and not known:
        return []
    set_status(output, "incomplete")
    if left_out:
        return _removed(output)
    refuse_tables(config, group)
    made = write_carried(output, _TABLES, table_files(group))
    return [f"tables of the plate carried along: {made['files']} files, {size_of(made['bytes'])}"]


def _removed(output: Path) -> list[str]:
    """Remove a copy of tables, and forget it."""
    shutil.rmtree(output / _TABLES, ignore_errors=True)
    forget_carried(output, [_TABLES])
    return ["tables of the plate removed from the output: they are of images that this run does not have"]


def damaged_plate_tables(collection: Collection) -> list[str]:
    """Return a line if the copies of tables differ from what was written."""
    output = collection.config.output.folder
    found = problem(output, _TABLES, read=True) if _TABLES in recorded(output) else None
    return [] if found is None else [found]


def _tables(collection: Collection) -> ZarrNode | None:
    """Return the group of tables of a plate, if it lists any."""
    path = collection.config.input.path
    group = read_node(path / _TABLES, f"input {path}, {_TABLES}") if collection.plate else None
    return group if group is not None and names_in(group, "tables") else None


def _left_out(collection: Collection) -> int:
    """Return the number of images of the plate that the run does not have."""
    path = collection.config.input.path
    assert isinstance(path, Path)  # many images are refused by URL
    return len({image.name for image in list_images(path).images} - {image.name for image in collection.images})
