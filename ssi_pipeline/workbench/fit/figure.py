"""Picture of a fit: how well each value of a parameter explains the image, and the spectrum that tells it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssi_pipeline.report.drawing import BLUE, GREY, ORANGE, new_figure
from ssi_pipeline.workbench.fit.fit import PsfFit

_LINEAR = 4.0
"""Deviance up to which the axis is linear."""

_FAINTEST = 1e-4


def draw_fit(fit: PsfFit) -> Figure:
    """Return a figure with a profile for each parameter, and the spectrum of the windows of most contrast."""
    figure = new_figure(10.0, 3.6)
    panels = figure.subplots(1, len(fit.verdicts) + 1)
    for axis, axes in enumerate(panels[:-1]):
        _profile(axes, fit, axis)
    _spectrum(panels[-1], fit)
    return figure


def _profile(axes: Axes, fit: PsfFit, axis: int) -> None:
    verdict = fit.verdicts[axis]
    values, excess, error = fit.profile.along(axis)
    axes.fill_between(values, np.maximum(excess - error, 0), excess + error, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(values, excess, ".-", color=BLUE, markersize=3, linewidth=0.8)
    axes.axvspan(verdict.low, verdict.high, color=GREY, alpha=0.2, linewidth=0)
    axes.axvline(verdict.parameter.given, color=GREY, linestyle=":", label=f"configured {verdict.parameter.given:.3g}")
    told = verdict.told and not fit.doubt
    if told:
        axes.axvline(verdict.best, color=ORANGE, label=f"fitted {verdict.best:.4g}")
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set(
        title=f"{verdict.low:.3g} to {verdict.high:.3g}" if told else "cannot tell; grey: as good",
        xlabel=f"psf.{verdict.parameter.option}",
        ylabel="deviance above the best, with its standard error",
        ylim=(0, None),
    )
    axes.legend(fontsize=8)


def _spectrum(axes: Axes, fit: PsfFit) -> None:
    """Draw the lateral spectrum over the noise, beside what the configured and the fitted PSF predict."""
    rings, sample = fit.data.rings, fit.data.samples[0]
    used = rings.used
    lateral, planes = rings.lateral
    plane = (planes == 0)[used]
    k, noise = lateral[used][plane], float(sample.noise.mean())
    axes.plot(k, (sample.power[:, used].mean(0) / noise)[plane], ".", color=GREY, markersize=4, label="image")
    search = fit.search
    shown = [(fit.given, BLUE, "configured PSF")] if fit.within_range else []
    for values, colour, label in [*shown, (search.best, ORANGE, "best PSF")]:
        transfer = search.transfer(values)
        model = search.model.spectrum(search.model.fit(sample, transfer), transfer)
        axes.plot(k, (model / noise)[plane], color=colour, linewidth=1, label=label)
    axes.axhline(1, color=GREY, linewidth=0.6)
    axes.set(
        title="spectrum over noise, windows of most contrast",
        xlabel="frequency, periods per pixel",
        yscale="log",
    )
    axes.legend(fontsize=8)
