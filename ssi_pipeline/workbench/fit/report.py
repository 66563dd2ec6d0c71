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
from ssi_pipeline.workbench.fit.verdict import Verdict
from ssi_pipeline.workbench.page import write_page, write_picture

if TYPE_CHECKING:
    from collections.abc import Sequence


def rows_of(fit: PsfFit) -> list[tuple[str, str]]:
    """Return name and value of each row of the table."""
    rows = [("PSF", f"{fit.section.kind}, channel {fit.channel}")]
    shape = " x ".join(str(n) for n in fit.data.rings.shape if n > 1)
    rows.append(("data", f"{fit.data.windows} windows of {shape} pixels; noise and sensor as calibrated"))
    for verdict in fit.verdicts:
        rows.append((verdict.parameter.option, _words(verdict, fit.doubt)))
        if verdict.parameter.signed and verdict.told and not fit.doubt:
            rows.append(("sign", "that of the configuration: one plane does not tell it"))
    rows.append(("gain", f"deviance {_gain(fit):.1f} below that of the configured values"))
    return [*rows, *([("doubt", fit.doubt)] if fit.doubt else [])]


def _words(verdict: Verdict, doubt: str) -> str:
    parameter = verdict.parameter
    where = f"configured {parameter.given:.4g}, searched {parameter.low:.4g} to {parameter.high:.4g}"
    if doubt:
        return f"cannot tell ({where}): see doubt"
    if verdict.told:
        return f"{verdict.best:.4g}, from {verdict.low:.4g} to {verdict.high:.4g} ({where})"
    return f"cannot tell ({where}): {verdict.reason}"


def _gain(fit: PsfFit) -> float:
    """Return the fall of the deviance from the values tried that are nearest to the configured ones."""
    tried = np.array(fit.profile.values)
    spans = np.array([v.parameter.high - v.parameter.low for v in fit.verdicts])
    nearest = int(np.argmin(np.square((tried - np.array(fit.given)) / spans).sum(1)))
    return float(fit.profile.excess[nearest])


def document_of(fit: PsfFit) -> dict[str, Any]:
    """Return the object of ``--json``."""
    parameters = []
    for axis, verdict in enumerate(fit.verdicts):
        values, excess, error = fit.profile.along(axis)
        parameters.append(
            {
                "option": f"psf.{verdict.parameter.option}",
                "given": verdict.parameter.given,
                "range": [verdict.parameter.low, verdict.parameter.high],
                "told": verdict.told and not fit.doubt,
                "best": verdict.best,
                "interval": [verdict.low, verdict.high],
                "reason": fit.doubt or verdict.reason,
                "profile": {"value": values.tolist(), "deviance": excess.tolist(), "error": error.tolist()},
            }
        )
    return {
        "kind": fit.section.kind,
        "channel": fit.channel,
        "windows": fit.data.windows,
        "told": fit.told,
        "gain": _gain(fit),
        "parameters": parameters,
    }


def save_picture(path: Path, fit: PsfFit) -> None:
    """Write the picture of the profiles as PNG."""
    with drawing_style():
        write_picture(path, draw_fit(fit))


def save_page(path: Path, title: str, fit: PsfFit) -> None:
    """Write the page of `ssi psf fit`."""
    with drawing_style():
        figure = picture(draw_fit(fit), "profile of the likelihood")
    write_page(path, "fit", title=title, rows=rows_of(fit), figure=figure)


def save_config(path: Path, source: Path, changes: Sequence[str], fit: PsfFit) -> None:
    """Write the configuration with the values that the data tell, beside its source.

    Raises
    ------
    ConfigError
        The data tell none.
    """
    if not fit.values:
        raise ConfigError(f"--out: the data tell no value: {path} is not written")
    document = read_yaml(source)
    if changes:
        document = with_changes(document, changes, lambda part: part)
    entries = document["psf"]
    entry = entries if isinstance(entries, dict) else entries[fit.channel if len(entries) > 1 else 0]
    for option, value in fit.values.items():
        entry[option] = _as_given(entry.get(option), float(f"{value:.4g}"))
    told = ", ".join(f"{v.parameter.option} {v.best:.4g} ({v.low:.4g} to {v.high:.4g})" for v in fit.verdicts if v.told)
    head = f"# {source.name} with what `ssi psf fit` found in the image: {told}\n"
    note(path.parent, [path.name])
    write_text(path, head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _as_given(old: Any, value: float) -> Any:
    if not isinstance(old, dict):
        return value
    return {axis: float(f"{width * value / old['x']:.4g}") for axis, width in old.items()}


def refuse_config(path: Path, source: Path) -> None:
    """Refuse a place for the new configuration, before any work.

    Raises
    ------
    ConfigError
        It is the source, or in another folder, from which relative paths lead elsewhere.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--out {path}: expected a name that ends in .yaml")
    if path.absolute().parent.resolve() != source.absolute().parent.resolve():
        raise ConfigError(f"--out {path}: expected a file beside {source}, whose relative paths begin there")
    if path.exists():
        raise ConfigError(f"--out {path}: there is a file of that name: expected a new one")
