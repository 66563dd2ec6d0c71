"""Samples of a channel for the fit: windows of the image, impulses repaired, by contrast."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.config import RunConfig, load_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.psf import Psf, VoxelSize, psf_values
from ssi_pipeline.workbench.fit.likelihood import Sample
from ssi_pipeline.workbench.fit.spectrum import SIDE, Floats, Rings, boxes_of

if TYPE_CHECKING:
    from ssi_pipeline.inversion.channel import ChannelCalibration
    from ssi_pipeline.inversion.measurement import Measurement
    from ssi_pipeline.tasks import Context

_GROUPS = 4
"""Groups of windows by contrast, each with a scene of its own: flat places and edges have different spectra."""

_FEWEST = 8
"""Fewest windows of a fit: below, chance decides."""

_CLIPPED = 0.02
"""Largest share of pixels at a limit of the sensor in a window: a plateau ends more sharply than any PSF."""

_AT_LIMIT = 1e-3
"""Distance from a limit of the sensor, normalised units, within which a pixel is clipped."""

_LEAST_GROUP = 4
"""Fewest windows of a group."""

_SMALLEST = 32
"""Least side of the image, pixels: rings are not resolved below it."""

_MOST = 400
"""Windows taken, evenly from all."""


@dataclass(frozen=True, eq=False)
class FitData:
    """What a PSF is fitted to.

    Attributes
    ----------
    rings
        Rings of frequencies of the windows.
    samples
        Windows by contrast.
    voxel_um, image_shape
        As ``load_whole`` needs them; the shape is that of the image, z y x.
    correlated
        Returns whether the noise is correlated between neighbours, were a PSF the right one.
    """

    rings: Rings
    samples: list[Sample]
    voxel_um: VoxelSize | None
    image_shape: Ints
    correlated: Callable[[Psf], bool]

    @property
    def windows(self) -> int:
        """Number of windows."""
        return sum(len(sample.power) for sample in self.samples)


def configured(path: Path, changes: Sequence[str]) -> RunConfig:
    """Load a configuration with a solver that needs no tuning: only the sensor is calibrated for a fit."""
    return load_config(path, [*changes, "solver=wiener", "classical.weight=likelihood", "executor.device=cpu"])


def read_data(config: RunConfig, channel: int) -> FitData:
    """Calibrate a channel as a run does, in a temporary folder, and take the spectra of its samples.

    Raises
    ------
    InputError
        The channel is empty, too small, or has too few windows that were measured and are not saturated.
    """
    from ssi_pipeline.run.channels import ready_channels_here
    from ssi_pipeline.run.create import create_stores, save_inputs
    from ssi_pipeline.run.prepare import prepare
    from ssi_pipeline.tasks import RunSpec
    from ssi_pipeline.tasks.samples import sample_channel

    with tempfile.TemporaryDirectory(prefix="ssi-fit-") as folder:
        prepared = prepare(config.with_output(Path(folder, "fit.zarr")))
        channels = prepared.document.plan.shape[1]
        if not 0 <= channel < channels:
            raise ConfigError(f"--channel {channel}: expected 0 to {channels - 1}")
        context = save_inputs(prepared)
        create_stores(context)
        ready_channels_here(context, RunSpec(str(context.paths.root), prepared.document.fingerprint))
        return _spectra(context, channel, sample_channel(context, channel).measurements)


def _spectra(context: Context, channel: int, samples: Sequence[Measurement]) -> FitData:
    calibration, config = context.calibration(channel), context.document.config
    if calibration.empty:
        raise InputError(f"channel {channel} is constant in all samples: expected an image with detail")
    volume, planes = context.document.volume, _planes(context, channel, samples)
    side = min(SIDE, *(n for plane in planes for n in plane.image.shape)) // 2 * 2
    if side < _SMALLEST:
        raise InputError(f"the image is {side} pixels wide: expected {_SMALLEST} or more to fit a PSF")
    windows = windows_of(planes, side)
    if len(windows) < _FEWEST:
        raise InputError(
            f"channel {channel}: {len(windows)} windows of {side} pixels were measured and are below saturation: "
            f"expected {_FEWEST} or more to fit a PSF; choose a larger region (input.roi), or an image that is not "
            "clipped"
        )
    windows = windows[:: -(-len(windows) // _MOST)]
    rings = Rings(side)
    power = np.array([rings.power(window) for window in windows])
    noise = np.array([calibration.noise.variance(float(window.mean())) for window in windows])
    return FitData(
        rings,
        by_contrast(rings, power, noise),
        volume.voxel_size_um,
        volume.shape[2:],
        _correlation_test(samples, calibration, config),
    )


@dataclass(frozen=True, eq=False)
class Plane:
    """A sample's plane, y x: raw; normalised with impulses repaired; where it was measured in the sensor's range."""

    raw: NDArray[np.float32]
    image: NDArray[np.float32]
    usable: NDArray[np.bool_]
    corner: tuple[int, int]


def _planes(context: Context, channel: int, samples: Sequence[Measurement]) -> list[Plane]:
    from ssi_pipeline.inversion.measurement import observed_box, to_tensor

    problem, calibration = context.problem(channel), context.calibration(channel)
    sensor, found = problem.forward.sensor, []
    for sample in samples:
        box, normal = observed_box(sample), calibration.normalised(sample.y)
        image = problem.linear.impulses.repair(to_tensor(normal, problem.axes)).numpy().reshape(normal.shape)
        usable = sample.observed & (normal > sensor.low + _AT_LIMIT) & (normal < sensor.high - _AT_LIMIT)
        assert sample.place is not None
        y, x = (
            round(middle - n / 2) + along.start
            for middle, n, along in zip(sample.place[1:], normal.shape[1:], box[1:], strict=True)
        )
        parts = zip(sample.y[box], image[box], usable[box], strict=True)
        found += [Plane(*part, (y, x)) for part in parts if part[1].size]
    return found


def windows_of(planes: Sequence[Plane], side: int) -> list[NDArray[np.float32]]:
    """Return windows that were measured, each once: samples overlap."""
    first, found = planes[0].corner, {}
    for plane in planes:
        corner = (plane.corner[0] - first[0], plane.corner[1] - first[1])
        shape = (plane.image.shape[0], plane.image.shape[1])
        for box in boxes_of(shape, side, corner):
            if plane.usable[box].mean() > 1 - _CLIPPED:
                found[plane.raw[box].tobytes()] = plane.image[box]
    return list(found.values())


def by_contrast(rings: Rings, power: Floats, noise: Floats) -> list[Sample]:
    """Gather windows of about the same contrast."""
    order = np.argsort(-(power - noise[:, None]) @ (rings.modes * rings.used), kind="stable")
    groups = min(_GROUPS, max(1, len(order) // _LEAST_GROUP))
    return [Sample(power[rows], noise[rows]) for rows in np.array_split(order, groups)]


def _correlation_test(
    samples: Sequence[Measurement], calibration: ChannelCalibration, config: RunConfig
) -> Callable[[Psf], bool]:
    """Return a test of the noise that asks what a PSF does not pass."""
    from ssi_pipeline.inversion.sensor.estimate import find_correlation

    estimated, reach = calibration.estimated, config.sensor.reach(2)
    assert estimated is not None

    def correlated(psf: Psf) -> bool:
        """Return whether the noise is correlated between pixels."""
        values = psf_values(psf, 2)
        found = find_correlation(samples, calibration.offset, calibration.scale, estimated, values, reach)
        return found is not None

    return correlated
