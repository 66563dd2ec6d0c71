"""Carry along into the output: labels and tables of an OME-Zarr image (``output.carry``), and OME-XML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.storage.inputs.labels import KINDS, Carried, Label, find_group, names_in, open_labels
from ssi_pipeline.storage.inputs.ome_xml import FILE, FOLDER, read_ome_xml
from ssi_pipeline.storage.inputs.zarr_node import ZarrNode
from ssi_pipeline.storage.outputs.carried import Frame, label_files, problem, recorded, table_files, write_carried
from ssi_pipeline.storage.outputs.collection import is_collection
from ssi_pipeline.storage.outputs.zarr_metadata import encoded, group_documents
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.tasks import Context
from ssi_pipeline.words import size_of


def describe_carried(config: RunConfig, volume: Volume, growing: bool = False) -> tuple[str, ...]:
    """Refuse what cannot be carried along; return notes on what the input lacks.

    ``growing``: the image is still being written, and so may be its labels.

    Raises
    ------
    ConfigError, InputError
        Labels have another resolution, or options change what labels and tables refer to.
    """
    if config.input.axes is not None:
        raise ConfigError("output.carry: labels have the axes of the file: expected no input.axes, or no output.carry")
    notes = []
    for kind in config.output.carry:
        group = _group(config, kind)
        if group is None:
            notes.append(f"output.carry: input {config.input.path} has no {kind}{' yet' if growing else ''}")
        elif kind == "labels":
            list(open_labels(group, volume, growing))
        else:
            refuse_tables(config, group)
    return tuple(notes)


def _group(config: RunConfig, kind: Carried) -> ZarrNode | None:
    """Return a group of the input that lists anything; None without one."""
    group = find_group(config.input.path, kind)
    return group if group is not None and names_in(group, kind) else None


def refuse_tables(config: RunConfig, group: ZarrNode) -> None:
    """Refuse tables whose content would no longer be true, or that no reader would open.

    Raises
    ------
    ConfigError, InputError
        The output has another region, voxel size or format than the tables.
    """
    if config.input.roi or config.input.voxel_size_um:
        raise ConfigError(
            "output.carry: tables hold positions in the whole image, by its own voxel size: expected no input.roi and "
            "no input.voxel_size_um, or no tables in output.carry"
        )
    fitting = "0.5" if group.zarr_format == 3 else "0.4"
    if config.output.ome_zarr != fitting:
        raise ConfigError(
            f"output.carry: the tables of {config.input.path} are in zarr format {group.zarr_format} and copied "
            f'as they are: expected output.ome_zarr: "{fitting}", or no tables in output.carry'
        )
    if not store_of(group.folder).lists:
        raise InputError(f"output.carry: the files of {group.folder} cannot be listed: download the image")


def carry_along(context: Context) -> list[str]:
    """Copy what was asked for and is not there yet; returns a line for each copy. Only the client calls this.

    Raises
    ------
    CorruptDataError, OSError
        It cannot be read or written.
    """
    said = []
    output = context.document.config.output.path
    if note := _keep_ome_xml(context):
        said.append(note)
    wanted = carried_problems(context, read=True, unwritten=True)
    for kind in KINDS:
        if kind not in wanted:
            continue
        made = write_carried(output, kind, _files(context, kind))
        said.append(f"{kind} carried along: {made['files']} files, {size_of(made['bytes'])}")
    return said


def _keep_ome_xml(context: Context) -> str:
    """Write the OME-XML of the input into the output, unless the collection has it; return why it is not kept."""
    section = context.document.config.output
    made = recorded(section.path)
    if FOLDER in made and problem(section.path, FOLDER, read=True) is None:
        return ""
    above = section.path.parent
    if isinstance(above, Path) and is_collection(above) and (above / FOLDER / FILE).exists():
        return ""
    content, note = read_ome_xml(context.document.config.input.path)
    if content is not None:
        # a group, as in a collection: zarr warns of other folders in an image
        group = ((name, encoded(document)) for name, document in group_documents(section.ome_zarr, {}).items())
        write_carried(section.path, FOLDER, [(FILE, content), *group])
    return note


def keep_collection_xml(config: RunConfig) -> None:
    """Write the OME-XML of a collection, or of a file with several images, into the output of all of them."""
    path, folder = config.input.path, config.output.folder / FOLDER
    content = None if (folder / FILE).exists() else read_ome_xml(path)[0]
    if content is not None:
        store_of(folder).write(FILE, content)


def _files(context: Context, kind: Carried) -> Iterator[tuple[str, bytes]]:
    document, plan = context.document, context.plan
    group = _group(document.config, kind)
    if group is None:
        raise InputError(
            f"{document.config.output.path / kind} has to be copied again, but input {document.config.input.path} has "
            f"no {kind} any more: put them back"
        )
    if kind == "tables":
        return table_files(group)
    region = region_of_interest(document.volume, document.config.input.roi)
    frame = Frame(region, document.image_metadata, context.pyramid, plan.chunk)
    growing = document.first_frames is not None
    labels = open_labels(group, document.volume, growing)
    if growing:
        labels = _of_all_frames(labels, document.volume.shape[0])
    return label_files(labels, document.config.output, frame)


def _of_all_frames(labels: Iterable[Label], frames: int) -> Iterator[Label]:
    """Yield labels, refusing those that end before the image does; time points after its last one are left out."""
    for label in labels:
        found = label.source.volume.shape[0]
        if "t" in label.source.volume.axes and found < frames:
            raise InputError(
                f"output.carry: the label image {label.name} has {found} time points, and the image {frames}: run the "
                "same command again when they are written, or remove labels from output.carry"
            )
        yield label


def carried_problems(context: Context, read: bool = False, unwritten: bool = False) -> dict[str, str]:
    """Return what is wrong with the copies, by kind.

    ``read``: compare every byte, not only numbers and sizes of files. ``unwritten``: those that were never made count.
    """
    section = context.document.config.output
    made = recorded(section.path)
    found: dict[str, str] = {}
    for kind in made:
        wrong = problem(section.path, kind, read)
        if wrong is not None:
            found[kind] = wrong
    for kind in section.carry:
        if kind not in made and unwritten and _group(context.document.config, kind) is not None:
            found[kind] = f"{section.path / kind} is not written yet"
    return found
