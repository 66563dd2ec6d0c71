"""Report of a fit: rows, JSON document, picture, page, and the configuration with the fitted values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ssi_pipeline.config.changes import with_changes
from ssi_pipeline.config.yaml_text import read_yaml
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.report.drawing import drawing_style, picture
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.state.made import note
from ssi_pipeline.workbench.fit.figure import draw_fit
from ssi_pipeline.workbench.fit.fit import PsfFit
from ssi_pipeline.workbench.page import write_page, write_picture
from ssi_pipeline.workbench.save import refuse_output

if TYPE_CHECKING:
    from collections.abc import Sequence


def rows_of(fit: PsfFit) -> list[tuple[str, str]]:
    """Return name and value of each row of the table."""
    side, parameter, verdict = fit.data.rings.side, fit.search.parameter, fit.verdict
    where = f"configured {parameter.given:.4g}, searched {parameter.low:.4g} to {parameter.high:.4g}"
    found = f"{verdict.best:.4g}, from {verdict.low:.4g} to {verdict.high:.4g} ({where})"
    rows = [
        ("PSF", f"{fit.search.parameter.section.kind}, channel {fit.channel}"),
        ("data", f"{fit.data.windows} windows of {side} x {side} pixels; noise and sensor as calibrated"),
        (parameter.option, found if fit.told else f"cannot tell ({where}): {fit.reason}"),
    ]
    if parameter.signed and fit.told:
        rows.append(("sign", "that of the range: one plane hardly tells it"))
    if fit.told:
        rows.append(("given", "all other values of the PSF: where one of them is wrong, so is this one"))
    return [*rows, ("gain", f"deviance {_gain(fit):.1f} below that of the configured value")]


def _gain(fit: PsfFit) -> float:
    """Return the fall of the deviance from the value tried that is nearest to the configured one."""
    nearest = int(np.argmin(np.abs(fit.profile.values - fit.search.parameter.given)))
    return float(fit.profile.excess[nearest])


def document_of(fit: PsfFit) -> dict[str, Any]:
    """Return the object of ``--json``."""
    parameter, verdict, profile = fit.search.parameter, fit.verdict, fit.profile
    return {
        "kind": fit.search.parameter.section.kind,
        "channel": fit.channel,
        "windows": fit.data.windows,
        "option": f"psf.{parameter.option}",
        "given": parameter.given,
        "range": [parameter.low, parameter.high],
        "told": fit.told,
        "best": verdict.best,
        "interval": [verdict.low, verdict.high],
        "reason": fit.reason,
        "gain": _gain(fit),
        "profile": {
            "value": profile.values.tolist(),
            "deviance": profile.excess.tolist(),
            "error": profile.error.tolist(),
        },
    }


def save_picture(path: Path, fit: PsfFit) -> None:
    """Write the picture of the profile as PNG."""
    with drawing_style():
        write_picture(path, draw_fit(fit))


def save_page(path: Path, title: str, fit: PsfFit) -> None:
    """Write the page of `ssi psf fit`."""
    with drawing_style():
        figure = picture(draw_fit(fit), "profile of the likelihood")
    write_page(path, "fit", title=title, rows=rows_of(fit), figure=figure)


def save_config(path: Path, source: Path, changes: Sequence[str], fit: PsfFit) -> None:
    """Write the configuration with the fitted value, beside its source."""
    document = read_yaml(source)
    if changes:
        document = with_changes(document, changes, lambda part: part)
    entries, option, verdict = document["psf"], fit.search.parameter.option, fit.verdict
    entry = entries if isinstance(entries, dict) else entries[fit.channel if len(entries) > 1 else 0]
    entry[option] = float(f"{verdict.best:.4g}")
    told = f"{option} {verdict.best:.4g} ({verdict.low:.4g} to {verdict.high:.4g})"
    head = f"# {source.name} with what `ssi psf fit` found in the image: {told}\n"
    note(path.parent, [path.name])
    write_text(path, head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def refuse_config(path: Path, source: Path) -> None:
    """Refuse a place for the new configuration, before any work.

    Raises
    ------
    ConfigError
        It exists, or is in another folder, from which relative paths lead elsewhere.
    OutputError
        See ``refuse_output``.
    """
    refuse_output(path, (".yaml", ".yml"))
    if path.absolute().parent.resolve() != source.absolute().parent.resolve():
        raise ConfigError(f"--out {path}: expected a file beside {source}, whose relative paths begin there")
    if path.exists():
        raise ConfigError(f"--out {path}: there is a file of that name: expected a new one")
