"""Check the calibration of another run, ``sensor.calibration``, against this run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssi_pipeline.config import RunConfig, differences
from ssi_pipeline.errors import ConfigError, CorruptDataError
from ssi_pipeline.geometry import Volume
from ssi_pipeline.storage.atomic import file_digest
from ssi_pipeline.storage.state.document import ALGORITHM, RunDocument, StatePaths

_SECTIONS = ("solver", "sensor", "classical", "masking", "network", "published", "seed")
"""Sections that decide how a channel is calibrated."""


def given_calibration(config: RunConfig, volume: Volume, psfs: Sequence[str]) -> str | None:
    """Return the digest of the given calibration; None if the run finds its own.

    ``psfs``: digest of the PSF of each channel.

    Raises
    ------
    ConfigError
        There is none, or it belongs to a run with another PSF, solver, sensor, dtype or voxel size.
    """
    if config.sensor.calibration is None:
        return None
    paths, where = StatePaths(config.sensor.calibration), f"sensor.calibration {config.sensor.calibration}"
    if not paths.document.is_file() or (found := file_digest(paths.calibration)) is None:
        raise ConfigError(f"{where} has no calibration: expected the state folder (output.zarr.run) of a run with one")
    try:
        other = RunDocument.load(paths.document)
    except CorruptDataError as error:
        raise ConfigError(f"{where}: {error}") from error
    changed = differences(
        _of(other.config, other.volume, other.basis["psf"], other.basis["algorithm"]),
        _of(config, volume, psfs, ALGORITHM),
    )
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise ConfigError(f"{where} is of a run with other settings: expected the same{lines}")
    return found


def _of(config: RunConfig, volume: Volume, psfs: Sequence[str], algorithm: int) -> dict[str, Any]:
    kept = config.model_dump(mode="json", include=set(_SECTIONS), exclude={"sensor": {"calibration"}})
    size = None if volume.voxel_size_um is None else list(volume.voxel_size_um)
    image = {"dtype": volume.dtype, "voxel_size_um": size, "fill": config.input.fill}
    whole = {"dimensions": config.tiling.dimensions, "psf": list(psfs), "input": image, "algorithm": algorithm}
    return {**kept, **whole}
