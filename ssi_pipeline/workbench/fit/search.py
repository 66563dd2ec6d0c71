"""Search the values of a parameter: a grid, then smaller and smaller steps around the best values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ssi_pipeline.workbench.fit.likelihood import Fit, Sample, SpectrumModel
from ssi_pipeline.workbench.fit.parameters import Parameter
from ssi_pipeline.workbench.fit.spectrum import Floats, Rings

_POINTS = 49
"""Values on the grid: a trough is as narrow as the rings of the transfer function are sharp."""

_ROUNDS, _MINIMA = 3, 3
"""Times that the step is halved; minima of the grid around which it is: the deepest trough may lie between its
points."""


@dataclass
class Search:
    """All values that were tried, with the fit of each sample.

    Attributes
    ----------
    parameter
        What is free.
    transfer
        Returns |H|^2 in the fine rings of a value.
    model, samples
        The likelihood, and the spectra of the image.
    fits
        Of each value, one for each sample.
    """

    parameter: Parameter
    transfer: Callable[[float], Floats]
    model: SpectrumModel
    samples: Sequence[Sample]
    fits: dict[float, list[Fit]] = field(default_factory=dict)

    def run(self, say: Callable[[str], None]) -> None:
        """Try the grid, then steps around the best values."""
        grid = [float(v) for v in np.linspace(self.parameter.low, self.parameter.high, _POINTS)]
        say(f"{len(grid)} PSFs and {sum(len(s.power) for s in self.samples)} windows")
        for value in grid:
            self._try(value)
        step = grid[1] - grid[0]
        centres = self._minima(step)
        for _ in range(_ROUNDS):
            step = step / 2
            for centre in centres:
                self._around(centre, step)
            centres = self._minima(step)
        start = list(self.fits[self.best])
        for value in list(self.fits):  # fits that ended in a local minimum begin again from the best
            self._try(value, start)

    @property
    def best(self) -> float:
        """The value of the largest likelihood."""
        return min(self.fits, key=self.total)

    def total(self, value: float) -> float:
        """Return twice the negative log likelihood of a value, with the penalty of the scene."""
        return sum(fit.total for fit in self.fits[value])

    def windows(self, value: float) -> Floats:
        """Return twice the negative log likelihood of each window."""
        return np.concatenate([fit.windows for fit in self.fits[value]])

    def _around(self, centre: float, step: float) -> None:
        for move in (-step, step):
            new = round(float(np.clip(centre + move, self.parameter.low, self.parameter.high)), 9)
            if new not in self.fits:
                self._try(new)

    def _minima(self, step: float) -> list[float]:
        """Return the best values that are more than two steps apart."""
        found: list[float] = []
        for value in sorted(self.fits, key=self.total):
            if all(abs(value - other) > 2 * step for other in found):
                found.append(value)
            if len(found) == _MINIMA:
                break
        return found

    def _try(self, value: float, start: Sequence[Fit] | None = None) -> None:
        transfer = self.transfer(value)
        near = start or self._nearest(value)
        old = self.fits.get(value)
        found = []
        for index, sample in enumerate(self.samples):
            starts = [near[index].parameters] if near else []
            fit = self.model.fit(sample, transfer, starts, fresh=start is None)
            found.append(fit if old is None or fit.total < old[index].total else old[index])
        self.fits[value] = found

    def _nearest(self, value: float) -> Sequence[Fit]:
        """Return the fits of the nearest value that was tried; empty without one."""
        return self.fits[min(self.fits, key=lambda other: abs(value - other))] if self.fits else []


def search(
    rings: Rings,
    samples: Sequence[Sample],
    parameter: Parameter,
    psf_values: Callable[[float], Floats],
    say: Callable[[str], None],
) -> Search:
    """Return a finished search.

    Parameters
    ----------
    rings, samples
        Spectra of the image.
    parameter
        What is free.
    psf_values
        Returns the PSF, y x, of a value.
    say
        Called with what is done.
    """
    known: dict[float, Floats] = {}

    def transfer(value: float) -> Floats:
        """Return |H|^2, computed once."""
        if value not in known:
            known[value] = rings.transfer(psf_values(value))
        return known[value]

    found = Search(parameter, transfer, SpectrumModel(rings), samples)
    found.run(say)
    return found
