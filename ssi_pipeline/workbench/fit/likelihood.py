"""How well a PSF explains the spectrum of an image, whatever the scene.

The spectrum of the measurement is S(k) |H(k)|^2 + N (Whittle's likelihood, 1953). The scene's S is unknown:

    log S(k) = power law + spline - c k^2,    c >= 0

Spectra of edges, fibres and points fall as powers of the frequency (Field 1987); a spline allows for a gentle bend in
them; c, which is free, for a scene that is as smooth as one likes. So the fall of |H|^2 tells only that the PSF is not
wider. What identifies it is what few scenes have: zeros and rings of its transfer function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ssi_pipeline.workbench.fit.spectrum import LOWEST, Floats, Rings

_Objective = Callable[[Floats], float]

_KNOTS = 7
"""Coefficients of the spline over log frequency: about one for each factor of 1.8."""

_BEND = 0.3
"""Standard deviation of the second difference of the spline's coefficients: a change of the slope of log S. Chosen on
three pictures and part of a fourth."""

_NOISE = 0.1
"""Relative standard deviation of the calibrated noise's variance: that of the calibration itself is below 0.05."""

_RISING = 0.1
"""Standard deviation of a c below 0, which hardly is allowed."""

_ROUNDS, _SETTLED, _LONGEST = 60, 1e-3, 2.0
"""Rounds of Fisher scoring at most; the fall of the objective that ends them; largest step of log S."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Windows of about the same contrast, which share S.

    Attributes
    ----------
    power
        Windows x rings.
    noise
        Calibrated variance of the noise in each window.
    """

    power: Floats
    noise: Floats


@dataclass(frozen=True, eq=False)
class Fit:
    """Twice the negative log likelihood for each window, the penalty, and the parameters."""

    windows: Floats
    penalty: float
    parameters: Floats = field(repr=False)

    @property
    def total(self) -> float:
        """The objective."""
        return float(self.windows.sum()) + self.penalty


class SpectrumModel:
    """The likelihood of a PSF for samples of spectra, all parameters of scene and noise fitted."""

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self._basis, self._precision, self._smooth = _scene(rings)
        self._matrix = rings.leakage[rings.used]
        self._modes = rings.modes[rings.used]

    def fit(self, sample: Sample, transfer: Floats, starts: Sequence[Floats] = (), fresh: bool = True) -> Fit:
        """Fit scene and noise of a sample.

        Parameters
        ----------
        sample
            Windows of about the same contrast.
        transfer
            |H|^2 in the fine rings.
        starts
            Parameters of similar PSFs, to begin with.
        fresh
            Begin with those derived from the sample too.
        """
        power = sample.power[:, self._rings.used]
        mean, noise = power.mean(0), float(sample.noise.mean())
        starts = [*starts, *([self._start(mean, noise, transfer)] if fresh else [])]
        fits = [self._descend(mean, len(power), noise, transfer, start) for start in starts]
        found, objective = min(fits, key=lambda each: each[1])
        model, _ = self._model(found, transfer)
        windows = 2 * ((np.log(model) + power / model) @ self._modes)
        return Fit(windows, 2 * objective - float(windows.sum()), found)

    def spectrum(self, fit: Fit, transfer: Floats) -> Floats:
        """Return the spectrum that the model predicts, in the rings that are used."""
        return self._model(fit.parameters, transfer)[0]

    def _model(self, parameters: Floats, transfer: Floats) -> tuple[Floats, Floats]:
        """Return the predicted spectrum, and its part of the scene in the fine rings."""
        scene = np.exp(np.clip(self._basis @ parameters[:-1], -60, 60)) * transfer
        return self._matrix @ scene + np.exp(parameters[-1]), scene

    def _penalty(self, parameters: Floats, noise: float) -> tuple[float, Floats, Floats]:
        """Return minus the log of the prior with its gradient and its second derivative."""
        second = np.zeros((len(parameters), len(parameters)))
        second[:-1, :-1] = self._precision
        second[-1, -1] = 1 / _NOISE**2
        if parameters[self._smooth] > 0:
            second[self._smooth, self._smooth] += 1 / _RISING**2
        off = parameters.copy()
        off[-1] -= np.log(noise)
        gradient = second @ off
        return float(off @ gradient) / 2, gradient, second

    def _start(self, mean: Floats, noise: float, transfer: Floats) -> Floats:
        """Return parameters from the logarithm of the spectrum, where it is above the noise."""
        seen = self._matrix @ transfer
        basis = (self._matrix @ self._basis) / self._matrix.sum(1, keepdims=True)
        clear = (mean > 2 * noise) & (seen > 1e-3)
        use = clear if clear.sum() > _KNOTS else np.ones(len(mean), bool)
        wanted = np.log(np.maximum(mean[use] - noise, 0.05 * noise) / np.maximum(seen[use], 1e-4))
        held = self._precision + 1e-6 * np.eye(len(self._precision))
        held[self._smooth, self._smooth] += 1e3
        return np.append(np.linalg.solve(basis[use].T @ basis[use] + held, basis[use].T @ wanted), np.log(noise))

    def _descend(
        self, mean: Floats, windows: int, noise: float, transfer: Floats, parameters: Floats
    ) -> tuple[Floats, float]:
        """Return the parameters of the largest posterior near the given ones, and minus its logarithm."""
        modes, damping = self._modes * windows, 1e-4

        def objective(at: Floats) -> float:
            """Return minus the log posterior."""
            model, _ = self._model(at, transfer)
            return float(modes @ (np.log(model) + mean / model)) + self._penalty(at, noise)[0]

        value = objective(parameters)
        for _ in range(_ROUNDS):
            model, scene = self._model(parameters, transfer)
            slopes = np.column_stack(
                [self._matrix @ (scene[:, None] * self._basis), np.full(len(model), np.exp(parameters[-1]))]
            )
            slopes /= model[:, None]
            _, gradient, second = self._penalty(parameters, noise)
            gradient = gradient + slopes.T @ (modes * (1 - mean / model))
            second = second + (slopes * modes[:, None]).T @ slopes + 1e-6 * np.eye(len(parameters))
            step, damping, reached = self._step(objective, parameters, value, gradient, second, damping)
            parameters, fall, value = parameters + step, value - reached, reached
            if fall < _SETTLED:
                break
        return parameters, value

    def _step(
        self, objective: _Objective, at: Floats, value: float, gradient: Floats, second: Floats, damping: float
    ) -> tuple[Floats, float, float]:
        """Return a step that lowers the objective (0: there is none), the next damping, and the value reached."""
        for _ in range(10):
            step = -np.linalg.solve(second + damping * np.diag(np.diag(second)), gradient)
            step *= min(1.0, _LONGEST / max(float(np.abs(self._basis @ step[:-1]).max()), 1e-12))
            reached = objective(at + step)
            if reached <= value:
                return np.asarray(step, np.float64), damping / 10, reached
            damping = max(10 * damping, 1e-4)
        return np.zeros_like(at), damping, value


def _scene(rings: Rings) -> tuple[Floats, Floats, int]:
    """Return the terms of log S (fine rings x terms), the precision of their prior, and which is the smoothness."""
    from scipy.interpolate import BSpline

    frequency = rings.fine_frequency
    log = np.log(np.maximum(frequency, LOWEST / rings.side))
    place = np.clip((log - log.min()) / (log.max() - log.min()), 0, 1 - 1e-9)
    knots = np.concatenate([[0.0] * 3, np.linspace(0, 1, _KNOTS - 2), [1.0] * 3])
    basis = np.column_stack([BSpline.design_matrix(place, knots, 3).toarray(), 4 * frequency**2])
    precision = np.zeros((_KNOTS + 1, _KNOTS + 1))
    bend = np.diff(np.eye(_KNOTS), 2, axis=0)
    precision[:_KNOTS, :_KNOTS] = bend.T @ bend / _BEND**2 + 1e-8 * np.eye(_KNOTS)
    return np.asarray(basis, np.float64), precision, _KNOTS
