"""Fit an optical parameter of a configuration's PSF to its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_whole import cropped, load_whole
from ssi_pipeline.workbench.fit.data import FitData, configured, read_data
from ssi_pipeline.workbench.fit.parameters import Parameter, Range, changed, parameter_of
from ssi_pipeline.workbench.fit.search import Search, search
from ssi_pipeline.workbench.fit.spectrum import Floats
from ssi_pipeline.workbench.fit.verdict import Profile, Verdict, profile_of, verdict_of

CORRELATED = (
    "the noise is correlated between pixels, and its spectrum falls as that of a blur: expected the image as the "
    "camera wrote it; set sensor.correlation: none if its noise is known to be independent"
)


@dataclass(frozen=True, eq=False)
class PsfFit:
    """A finished fit.

    Attributes
    ----------
    data, search, profile
        The spectra, all values that were tried, and how they compare.
    verdict
        What the data tell.
    doubt
        Why the verdict is not to be believed; empty without a reason.
    channel
        Channel of the output.
    """

    data: FitData
    search: Search
    profile: Profile
    verdict: Verdict
    doubt: str
    channel: int

    @property
    def reason(self) -> str:
        """Why the data cannot tell the value; empty where they can."""
        return self.doubt or self.verdict.reason

    @property
    def told(self) -> bool:
        """Whether the data tell the value."""
        return not self.reason


def fit_psf(
    path: Path, changes: Sequence[str], free: str, asked: Range | None, channel: int, say: Callable[[str], None]
) -> PsfFit:
    """Fit a parameter of a PSF.

    Parameters
    ----------
    path, changes
        Configuration, and ``key=value`` in place of what it says.
    free
        Name of the parameter.
    asked
        Range to search in place of the derived one.
    channel
        Channel of the output.
    say
        Called with what is done.

    Raises
    ------
    ConfigError
        The kind of PSF has no such parameter, the range is not valid, or tiles are 3D.
    InputError
        The image has too few windows that can be used.
    """
    config = configured(path, changes)
    if len(config.psf) > 1 and not 0 <= channel < len(config.psf):
        raise ConfigError(f"--channel {channel}: the configuration has PSFs of the channels 0 to {len(config.psf) - 1}")
    parameter = parameter_of(config.psf_of(channel), free, asked, config.tiling.dimensions)
    say("calibrating the sensor")
    return fit_data(read_data(config, channel), parameter, channel, say)


def fit_data(data: FitData, parameter: Parameter, channel: int, say: Callable[[str], None]) -> PsfFit:
    """Fit a parameter to spectra."""

    def psf(value: float) -> Psf:
        """Return the PSF of a value."""
        tried = changed(parameter.section, parameter.option, value)
        whole, size, notes = load_whole(tried, data.voxel_um, 2, data.image_shape)
        return Psf(cropped(whole, tried.energy), size, notes)  # an end of the range may be no PSF for a run

    def values_of(value: float) -> Floats:
        """Return the values of a PSF, y x."""
        return np.asarray(psf(value).values[0], np.float64)

    found = search(data.rings, data.samples, parameter, values_of, say)
    profile = profile_of(found)
    doubt = CORRELATED if data.correlated(psf(found.best)) else ""
    return PsfFit(data, found, profile, verdict_of(found, profile), doubt, channel)
