"""Calibration section: constants of each channel."""

from __future__ import annotations

from typing import Any

from ssi_pipeline.inversion.sensor.correlation import NoiseCorrelation, correlation_words
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import number

_MOST_CHANNELS = 16

EXPLAINED = {
    "offset": "raw intensity mapped to 0 in normalised units (a low percentile of the channel)",
    "scale": "raw intensity range mapped to 1 (from offset to a high percentile)",
    "dark": "raw dark level; above it the noise variance grows with the intensity",
    "noise_sigma": "standard deviation of the noise at the dark level, raw units",
    "noise_alpha": "noise variance per unit of raw intensity (photon noise, camera gain)",
    "impulse_share": "fraction of hot and dead pixels; they are replaced and excluded from the loss",
    "wiener_weight": "regularisation weight of the linear solution; larger is smoother",
    "weight": "regularisation weight or number of iterations of the solver; by the masked loss unless configured",
    "minimum": "smallest sampled raw value",
    "floor": "raw level below which there is no light, the lower bound of every estimate; never above the dark level",
    "alpha_most": "largest noise variance per unit of raw intensity that the data allow; few photons are known by it",
    "weights": "weight or number of iterations of each solver that was tuned: the network's baselines",
    "clip_low": "raw level at which the sensor clips dark pixels",
    "clip_high": "raw level at which the sensor saturates",
    "psf_width": "largest width of the PSF that fits the image's spectrum, over the given one; below 1 it is too wide",
    "weight_at_end": "the tuned weight is the last of its candidates: smoothest or sharpest",
    "correlation": "whether pixels share noise; if so they are hidden together, and their noise is modelled",
    "between": "correlation of the noise with the next plane's (z) and frame's (t), where the network sees these",
    "empty": "whether all samples were constant: nothing to deconvolve",
}

_ESTIMATE = ", estimated"
_ESTIMATED = {
    "dark": "dark",
    "noise_sigma": "sigma",
    "noise_alpha": "alpha",
    "impulse_share": "impulse_share",
    "clip_low": "low",
    "clip_high": "high",
}
"""Constants that the configuration can override, and the names of their estimates."""


def calibration_section(facts: RunFacts) -> Section:
    """Tabulate the constants: one row per constant, one column per channel."""
    channels = [with_estimates(channel) for channel in facts.calibration[:_MOST_CHANNELS]]
    found = dict.fromkeys(name for channel in channels for name in channel)
    names = [*(name for name in EXPLAINED if name in found), *(name for name in found if name not in EXPLAINED)]
    rows = [(name, [_show(channel.get(name)) for channel in channels], _explain(name)) for name in names]
    heads = [facts.channel_name(c) for c in range(len(channels))]
    left = len(facts.calibration) - len(channels)
    return Section("calibration", "Calibration", render("calibration", heads=heads, rows=rows, left=left))


def with_estimates(channel: dict[str, Any]) -> dict[str, Any]:
    """Return the constants, with the estimate beside each overridden one."""
    constants = {name: value for name, value in channel.items() if name != "estimated"}
    if "correlation" in constants:
        found = constants["correlation"]
        constants["correlation"] = correlation_words(None if found is None else NoiseCorrelation.from_json(found))
    if between := constants.pop("between", None):
        constants["between"] = ", ".join(
            f"{axis}: {'unknown' if rho is None else number(rho)}" for axis, rho in between.items()
        )
    estimated = channel.get("estimated") or {}
    for name, key in _ESTIMATED.items():
        if key in estimated and estimated[key] != channel.get(name):
            constants[name + _ESTIMATE] = estimated[key]
    return constants


def _explain(name: str) -> str:
    if name.endswith(_ESTIMATE):
        return "estimate from the samples, overridden by the configuration"
    return EXPLAINED.get(name, "")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    return "none" if value is None else str(value)
