"""Picture of a fit: how well each value of a parameter explains the image, and the spectrum that tells it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssi_pipeline.report.drawing import BLUE, GREY, ORANGE, new_figure
from ssi_pipeline.workbench.fit.fit import PsfFit

_LINEAR = 4.0
"""Deviance up to which the axis is linear."""


def draw_fit(fit: PsfFit) -> Figure:
    """Return a figure with the profile of the parameter, and the spectrum of the windows of most contrast."""
    figure = new_figure(10.0, 3.6)
    left, right = figure.subplots(1, 2)
    _profile(left, fit)
    _spectrum(right, fit)
    return figure


def _profile(axes: Axes, fit: PsfFit) -> None:
    verdict, profile, parameter = fit.verdict, fit.profile, fit.search.parameter
    low, high = np.maximum(profile.excess - profile.error, 0), profile.excess + profile.error
    axes.fill_between(profile.values, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(profile.values, profile.excess, ".-", color=BLUE, markersize=3, linewidth=0.8)
    axes.axvspan(verdict.low, verdict.high, color=GREY, alpha=0.2, linewidth=0)
    axes.axvline(parameter.given, color=GREY, linestyle=":", label=f"configured {parameter.given:.3g}")
    if fit.told:
        axes.axvline(verdict.best, color=ORANGE, label=f"fitted {verdict.best:.4g}")
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set(
        title=f"{verdict.low:.3g} to {verdict.high:.3g}" if fit.told else "cannot tell; grey: as good",
        xlabel=f"psf.{parameter.option}",
        ylabel="deviance above the best, with its standard error",
        ylim=(0, None),
    )
    axes.legend(fontsize=8)


def _spectrum(axes: Axes, fit: PsfFit) -> None:
    """Draw the spectrum over the noise, beside what the configured and the best PSF predict."""
    rings, sample, search = fit.data.rings, fit.data.samples[0], fit.search
    k, noise = rings.frequency[rings.used], float(sample.noise.mean())
    axes.plot(k, sample.power[:, rings.used].mean(0) / noise, ".", color=GREY, markersize=4, label="image")
    parameter, shown = search.parameter, [(search.best, ORANGE, "best PSF")]
    if parameter.low <= parameter.given <= parameter.high:
        shown.insert(0, (parameter.given, BLUE, "configured PSF"))
    for value, colour, label in shown:
        transfer = search.transfer(value)
        model = search.model.spectrum(search.model.fit(sample, transfer), transfer)
        axes.plot(k, model / noise, color=colour, linewidth=1, label=label)
    axes.axhline(1, color=GREY, linewidth=0.6)
    axes.set(
        title="spectrum over noise, windows of most contrast",
        xlabel="frequency, periods per pixel",
        yscale="log",
    )
    axes.legend(fontsize=8)
