"""The page: all sections in their order, in one file without any reference to the outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import OutputError, SsiError
from ssi_pipeline.report.drawing import drawing_style
from ssi_pipeline.report.facts import RunFacts, read_facts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.sections.calibration import calibration_section
from ssi_pipeline.report.sections.explorer import explorer_section
from ssi_pipeline.report.sections.failures import failures_section
from ssi_pipeline.report.sections.heldout import heldout_section
from ssi_pipeline.report.sections.maps import maps_section
from ssi_pipeline.report.sections.outcome import headline, outcome_section
from ssi_pipeline.report.sections.pictures import pictures_section
from ssi_pipeline.report.sections.provenance import provenance_section
from ssi_pipeline.report.sections.psfs import psf_section
from ssi_pipeline.report.sections.seams import seams_section
from ssi_pipeline.report.sections.tiles import tiles_section
from ssi_pipeline.report.sections.timing import timing_section
from ssi_pipeline.report.words import date
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.made import note, refuse_foreign
from ssi_pipeline.tasks.opening import open_context

_GENERATOR, _HEAD_BYTES = b'<meta name="generator" content="ssi_pipeline">', 1024
"""Stands in the first lines of every report."""

SECTIONS: tuple[Callable[[RunFacts], Section], ...] = (
    outcome_section,
    pictures_section,
    failures_section,
    explorer_section,
    tiles_section,
    seams_section,
    heldout_section,
    maps_section,
    timing_section,
    psf_section,
    calibration_section,
    provenance_section,
)
"""In the order of the page. A new section is a function here and a template."""


def write_report(
    config: RunConfig, output: Path | None = None, figures: Path | None = None, configuration: str = "run.yaml"
) -> Path:
    """Write the report of a run, whatever its state, as one HTML file; returns its path.

    Parameters
    ----------
    output
        The file to write, by default ``report.html`` in the state folder. It is replaced as a whole.
    figures
        A folder for every picture of the report as PNG (300 dots an inch) and SVG; made where it is not there.
    configuration
        The file that ``config`` was read from, for the commands that the report names.

    Raises
    ------
    InputError
        Nothing has been run there yet.
    CorruptDataError
        The run's document or its ledger cannot be read.
    OutputError
        The file cannot be written.
    """
    context = open_context(config)
    path = context.paths.report if output is None else output
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"the report cannot be written to {path}: give a file in a folder that exists")
    if output is not None:
        _refuse_foreign_file(output)
    folder = None if figures is None else _figures_folder(figures)
    facts = read_facts(context, configuration)
    with drawing_style(folder):
        sections = [_make(make, facts) for make in SECTIONS]
    text = render(
        "page",
        name=context.document.config.output.path.name,
        headline=headline(facts),
        sections=sections,
        made=date(time.time()),
        version=__version__,
    )
    # character references: the file is the same text whatever the encoding of the system
    ascii_text = text.encode("ascii", "xmlcharrefreplace").decode("ascii")
    try:
        write_text(path, ascii_text)
    except OSError as error:
        raise OutputError(f"the report cannot be written to {path}: {error}") from error
    if folder is not None:
        note(folder, _pictures(folder))
    return path


def _refuse_foreign_file(path: Path) -> None:
    """Refuse to replace a file that is no report."""
    try:
        with path.open("rb") as stream:
            ours = _GENERATOR in stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"the report cannot be written to {path}: {error}") from error
    if not ours:
        raise OutputError(f"--output {path} exists and is no report of ssi: give another name, or move it away")


def _pictures(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix in (".png", ".svg")]


def _figures_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--figures {folder} is no folder and cannot be made one: {error}") from error
    refuse_foreign(folder, _pictures(folder), "--figures")  # which ones will be written shows only later
    return folder


def _make(make: Callable[[RunFacts], Section], facts: RunFacts) -> Section:
    """Data that cannot be read cost their section, not the report: it is needed most when things are broken."""
    try:
        return make(facts)
    except (SsiError, OSError) as error:
        title = make.__name__.removesuffix("_section").capitalize()
        return Section(title.lower(), title, render("trouble", error=str(error)))
