"""Self-contained HTML pages and PNG pictures of the workbench."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ssi_pipeline import __version__
from ssi_pipeline.report.drawing import drawing_style, picture
from ssi_pipeline.report.words import date
from ssi_pipeline.storage.atomic import replacing, write_text
from ssi_pipeline.storage.state.made import note
from ssi_pipeline.workbench.facts import PsfFacts
from ssi_pipeline.workbench.figure import draw_psf
from ssi_pipeline.workbench.save import refuse_output

_DPI = 110


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of the workbench to one HTML file."""
    text = (
        _environment().get_template(f"{template}.html.j2").render(made=date(time.time()), version=__version__, **values)
    )
    note(path.parent, [path.name])
    # character references: the file does not depend on the system's encoding
    write_text(path, text.encode("ascii", "xmlcharrefreplace").decode("ascii"))


def write_picture(path: Path, figure: Figure) -> None:
    """Write a figure as PNG on white."""
    note(path.parent, [path.name])
    with replacing(path) as partial:
        figure.savefig(partial, dpi=_DPI, facecolor="white", format="png")


def write_psf_page(path: Path, title: str, psfs: Sequence[PsfFacts]) -> None:
    """Write the page of `ssi psf show`."""
    with drawing_style():
        entries = [(facts.name, facts.rows(), picture(draw_psf(facts), f"PSF of {facts.name}")) for facts in psfs]
    write_page(path, "psf", title=title, entries=entries)


def write_psf_pictures(path: Path, psfs: Sequence[PsfFacts]) -> list[Path]:
    """Write a PNG for each PSF; of several, with the channel's number in the name."""
    paths = [path.with_stem(f"{path.stem}-{i}") if len(psfs) > 1 else path for i in range(len(psfs))]
    for each in paths:
        refuse_output(each, (".png",))
    with drawing_style():
        for each, facts in zip(paths, psfs, strict=True):
            write_picture(each, draw_psf(facts))
    return paths


def _environment() -> Environment:
    loader = ChoiceLoader([PackageLoader("ssi_pipeline.workbench"), PackageLoader("ssi_pipeline.report")])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
