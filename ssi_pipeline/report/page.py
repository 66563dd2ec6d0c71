"""Report page: all sections in one self-contained HTML file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.made import note, refuse_foreign
from ssi_pipeline.tasks.opening import open_context

_GENERATOR, _HEAD_BYTES = b'<meta name="generator" content="ssi_pipeline">', 1024
"""Marker in the first bytes of every report."""

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
"""Sections in the order of the page. A new section is a function here and a template."""


def write_report(
    config: RunConfig, output: Path | None = None, figures: Path | None = None, configuration: str = "run.yaml"
) -> Path:
    """Write the report of a run in any state as one HTML file; return its path.

    Parameters
    ----------
    output
        The file to write, by default ``report.html`` in the state folder. It is replaced atomically.
    figures
        Folder for the figures as PNG (300 dpi) and SVG; created if missing.
    configuration
        The file that ``config`` was read from, for commands shown in the report.

    Raises
    ------
    InputError
        There is no run.
    CorruptDataError
        The run's document or its ledger cannot be read.
    OutputError
        The file cannot be written.
    """
    context = open_context(config)
    path = page_path(context.paths, output)
    folder = None if figures is None else _figures_folder(figures)
    facts = read_facts(context, configuration)
    with drawing_style(folder):
        sections = [_make(make, facts) for make in SECTIONS]
    write_page(path, context.document.config.output.path.name, headline(facts), sections)
    if folder is not None:
        note(folder, _pictures(folder))
    return path


def page_path(paths: StatePaths, output: Path | None) -> Path:
    """Return the file to write: ``output``, or that in the state folder.

    Raises
    ------
    OutputError
        It is a folder, or no report, or its folder does not exist.
    """
    path = paths.report if output is None else output
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"cannot write the report to {path}: give a file in an existing folder")
    if output is not None:
        _refuse_foreign_file(output)
    return path


def write_page(path: Path, name: str, headline: tuple[str, str], sections: Sequence[Section]) -> None:
    """Write sections as one page; ``headline``: CSS class and text of its state.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    made = date(time.time())
    text = render("page", name=name, headline=headline, sections=sections, made=made, version=__version__)
    # character references: the file does not depend on the system's encoding
    ascii_text = text.encode("ascii", "xmlcharrefreplace").decode("ascii")
    try:
        write_text(path, ascii_text)
    except OSError as error:
        raise OutputError(f"cannot write the report to {path}: {error}") from error


def _refuse_foreign_file(path: Path) -> None:
    """Refuse to replace a file that is not a report."""
    try:
        with path.open("rb") as stream:
            ours = _GENERATOR in stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot write the report to {path}: {error}") from error
    if not ours:
        raise OutputError(f"--output {path} exists and is not a report of ssi: choose another name or move it")


def _pictures(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix in (".png", ".svg")]


def _figures_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--figures: cannot create the folder {folder}: {error}") from error
    refuse_foreign(folder, _pictures(folder), "--figures")  # the names are known only after drawing
    return folder


def _make(make: Callable[[RunFacts], Section], facts: RunFacts) -> Section:
    """Return a section, or an error message in its place: unreadable data must not prevent the report."""
    try:
        return make(facts)
    except (SsiError, OSError) as error:
        title = make.__name__.removesuffix("_section").capitalize()
        return Section(title.lower(), title, render("trouble", error=str(error)))
