"""Search the values of free parameters: a grid, then smaller and smaller steps around the best values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ssi_pipeline.workbench.fit.likelihood import Fit, Sample, SpectrumModel
from ssi_pipeline.workbench.fit.parameters import Parameter
from ssi_pipeline.workbench.fit.spectrum import Floats, Rings

_POINTS = 49
"""Values of each parameter on the grid: a trough is as narrow as the rings of the transfer function are sharp."""

_ROUNDS, _MINIMA = 3, 3
"""Times that the steps are halved; minima of the grid around which they are: the deepest trough may lie between its
points."""

Values = tuple[float, ...]


@dataclass
class Search:
    """All values that were tried, with the fit of each sample.

    Attributes
    ----------
    parameters
        What is free.
    transfer
        Returns |H|^2 in the fine cells of values.
    """

    parameters: Sequence[Parameter]
    transfer: Callable[[Values], Floats]
    model: SpectrumModel
    samples: Sequence[Sample]
    fits: dict[Values, list[Fit]] = field(default_factory=dict)

    def run(self, say: Callable[[str], None]) -> None:
        """Try the grid, then steps around the best values."""
        along = [np.linspace(p.low, p.high, _POINTS) for p in self.parameters]
        grid = list(product(*[[float(v) for v in values] for values in along]))
        say(f"{len(grid)} PSFs and {sum(len(s.power) for s in self.samples)} windows")
        for values in grid:
            self._try(values)
        steps = np.array([values[1] - values[0] for values in along])
        centres = self._minima(steps)
        for _ in range(_ROUNDS):
            steps = steps / 2
            for centre in centres:
                self._around(centre, steps)
            centres = self._minima(steps)
        start = list(self.fits[self.best])
        for values in list(self.fits):  # fits that ended in a local minimum begin again from the best
            self._try(values, start)

    @property
    def best(self) -> Values:
        """The values of the largest likelihood."""
        return min(self.fits, key=self.total)

    def total(self, values: Values) -> float:
        """Return twice the negative log likelihood of values, with the penalty of the scene."""
        return sum(fit.total for fit in self.fits[values])

    def windows(self, values: Values) -> Floats:
        """Return twice the negative log likelihood of each window."""
        return np.concatenate([fit.windows for fit in self.fits[values]])

    def _around(self, centre: Values, steps: Floats) -> None:
        for move in product((-1, 0, 1), repeat=len(steps)):
            values = [c + m * s for c, m, s in zip(centre, move, steps, strict=True)]
            inside = zip(values, self.parameters, strict=True)
            new = tuple(round(float(np.clip(v, p.low, p.high)), 9) for v, p in inside)
            if new not in self.fits:
                self._try(new)

    def _minima(self, steps: Floats) -> list[Values]:
        """Return the best values that are more than two steps apart."""
        found: list[Values] = []
        for values in sorted(self.fits, key=self.total):
            if all(max(abs(np.subtract(values, other)) / steps) > 2 for other in found):
                found.append(values)
            if len(found) == _MINIMA:
                break
        return found

    def _try(self, values: Values, start: Sequence[Fit] | None = None) -> None:
        transfer = self.transfer(values)
        near = [start] if start else [self.fits[other] for other in self._nearest(values)]
        old = self.fits.get(values)
        found = []
        for index, sample in enumerate(self.samples):
            fit = self.model.fit(sample, transfer, [fits[index].parameters for fits in near], fresh=start is None)
            found.append(fit if old is None or fit.total < old[index].total else old[index])
        self.fits[values] = found

    def _nearest(self, values: Values) -> list[Values]:
        """Return the nearest values that were tried, if any."""
        spans = np.array([p.high - p.low for p in self.parameters])
        return sorted(self.fits, key=lambda other: float(np.square(np.subtract(values, other) / spans).sum()))[:1]


def search(
    rings: Rings,
    samples: Sequence[Sample],
    parameters: Sequence[Parameter],
    psf_values: Callable[[Values], Floats],
    say: Callable[[str], None],
) -> Search:
    """Return a finished search.

    Parameters
    ----------
    rings, samples
        Spectra of the image.
    parameters
        What is free.
    psf_values
        Returns a PSF, z y x, of values.
    say
        Called with what is done.
    """
    known: dict[Values, Floats] = {}

    def transfer(values: Values) -> Floats:
        """Return |H|^2, computed once."""
        if values not in known:
            known[values] = rings.transfer(psf_values(values))
        return known[values]

    found = Search(parameters, transfer, SpectrumModel(rings), samples)
    found.run(say)
    return found
