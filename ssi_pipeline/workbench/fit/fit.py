"""Fit optical parameters of a configuration's PSF to its image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_whole import cropped, load_whole
from ssi_pipeline.workbench.fit.data import FitData, configured, read_data
from ssi_pipeline.workbench.fit.parameters import Parameter, Range, Section, changed, parameters_of
from ssi_pipeline.workbench.fit.search import Search, Values, search
from ssi_pipeline.workbench.fit.spectrum import Floats
from ssi_pipeline.workbench.fit.verdict import Profile, Verdict, profile_of, verdicts_of

CORRELATED = (
    "the noise is correlated between pixels, so its spectrum falls as that of a blur: expected the image as the camera "
    "wrote it; set sensor.correlation: none if its noise is known to be independent"
)


@dataclass(frozen=True, eq=False)
class PsfFit:
    """A finished fit.

    Attributes
    ----------
    section
        The PSF as configured.
    data, search, profile
        The spectra, all values that were tried, and how they compare.
    verdicts
        One per free parameter.
    doubt
        Why no verdict of the fit is to be believed; empty without a reason.
    channel
        Channel of the output.
    """

    section: Section
    data: FitData
    search: Search
    profile: Profile
    verdicts: tuple[Verdict, ...]
    doubt: str
    channel: int

    @property
    def told(self) -> bool:
        """Whether the data tell all parameters."""
        return not self.doubt and all(verdict.told for verdict in self.verdicts)

    @property
    def values(self) -> dict[str, float]:
        """The values that the data tell, by option."""
        return {} if self.doubt else {v.parameter.option: v.best for v in self.verdicts if v.told}

    @property
    def within_range(self) -> bool:
        """Whether the values of the configuration are in the ranges that were searched."""
        return all(v.parameter.low <= v.parameter.given <= v.parameter.high for v in self.verdicts)

    @property
    def given(self) -> Values:
        """The values of the configuration."""
        return tuple(verdict.parameter.given for verdict in self.verdicts)


def fit_psf(
    path: Path,
    changes: Sequence[str],
    free: Sequence[str],
    ranges: Mapping[str, Range],
    channel: int,
    say: Callable[[str], None],
) -> PsfFit:
    """Fit parameters of a PSF.

    Parameters
    ----------
    path, changes
        Configuration, and ``key=value`` in place of what it says.
    free
        Names of the parameters.
    ranges
        Ranges to search, by name, in place of the derived ones.
    channel
        Channel of the output.
    say
        Called with what is done.

    Raises
    ------
    ConfigError
        The kind of PSF has no such parameter, or a range is not valid.
    InputError
        The image has too few windows that can be used.
    """
    config = configured(path, changes)
    if len(config.psf) > 1 and not 0 <= channel < len(config.psf):
        raise ConfigError(f"--channel {channel}: the configuration has PSFs of the channels 0 to {len(config.psf) - 1}")
    section, dimensions = config.psf_of(channel), config.tiling.dimensions
    parameters = parameters_of(section, free, ranges, dimensions)
    assert isinstance(section, Section)
    say("calibrating the sensor")
    data = read_data(config, channel)
    return fit_data(section, data, parameters, channel, say)


def fit_data(
    section: Section,
    data: FitData,
    parameters: Sequence[Parameter],
    channel: int,
    say: Callable[[str], None],
) -> PsfFit:
    """Fit parameters to spectra."""

    def psf(values: Values) -> Psf:
        """Return the PSF of values."""
        options = {p.option: value for p, value in zip(parameters, values, strict=True)}
        tried = changed(section, options)
        whole, size, notes = load_whole(tried, data.voxel_um, data.dimensions, data.image_shape)
        return Psf(cropped(whole, tried.energy), size, notes)  # an end of the range may be no PSF for a run

    def values_of(values: Values) -> Floats:
        """Return the values of a PSF, z y x."""
        return psf(values).values.astype(float)

    found = search(data.rings, data.samples, parameters, values_of, say)
    profile = profile_of(found)
    doubt = "" if not data.correlated(psf(found.best)) else CORRELATED
    return PsfFit(section, data, found, profile, tuple(verdicts_of(found, profile)), doubt, channel)
