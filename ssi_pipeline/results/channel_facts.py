"""Read what the alarms of a channel need beside its metrics: calibration and PSF, free of torch."""

from __future__ import annotations

import json
from typing import Any

from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.tasks import Context


def plain_calibration(context: Context) -> list[dict[str, Any]]:
    """Return the calibration as plain values (its class would import torch); empty if it cannot be read."""
    try:
        document = json.loads(context.paths.calibration.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    good = isinstance(document, list) and all(isinstance(channel, dict) for channel in document)
    return document if good else []


def channel_psfs(context: Context) -> list[Psf | None]:
    """Return the PSF of each channel, None for no blur or where its file cannot be read."""
    found: list[Psf | None] = []
    for c in range(context.plan.shape[1]):
        try:
            found.append(context.psf(c))
        except CorruptDataError:
            found.append(None)
    return found
