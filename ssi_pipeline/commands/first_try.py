"""Suggest what to do where a run would take hours: try a part of the image first, train one network for all tiles."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.config.psf_varying import varies
from ssi_pipeline.geometry.plan import region_of_interest
from ssi_pipeline.geometry.volume import AXES

if TYPE_CHECKING:
    from ssi_pipeline.config import RunConfig
    from ssi_pipeline.run.planning import TimeEstimate
    from ssi_pipeline.run.prepare import Prepared

_LONG_S = 3600.0

_TRAINED_S, _OTHERS_S = 2e-4, 1e-5
"""Seconds per voxel and worker, of networks in float32 on one CPU core (two to four minutes for a megapixel) and of the
other solvers, roughly: a wrong guess costs a line on the screen."""

_VOXELS, _PLANES = 10**6, 32

_MANY_TILES = 16
"""Tiles of a channel for which a shared network was measured."""


def first_try(prepared: Prepared, time: TimeEstimate | None, name: str) -> list[str]:
    """Return the lines of the suggestion; none for a run that is short, or small.

    Parameters
    ----------
    time
        Measured time of the whole run; None: a rough guess by the number of voxels.
    name
        The configuration as in a command: its file, quoted for a shell, and its ``--set`` options.
    """
    document = prepared.document
    plan, config = document.plan, document.config
    voxels = math.prod(plan.shape)
    each = _TRAINED_S if config.method.trains else _OTHERS_S
    seconds = time.seconds if time is not None else voxels * each / prepared.workers
    if seconds < _LONG_S or voxels <= _VOXELS or prepared.context.paths.document.exists():
        return []
    output = config.output.path
    changes = {
        "solver": "wiener",
        "input.roi": _middle(prepared),
        "output.path": str(output.with_name(f"{output.stem}-first-try.zarr")),
        **({} if config.output.state is None else {"output.state": _state(config)}),
    }
    words = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in changes.items())
    lines = [f"first, a million voxels with the fastest solver, in a minute: ssi run {name} {words}"]
    many = config.method.network and plan.n_tiles // plan.shape[1] >= _MANY_TILES
    if many and config.training.scope == "per_tile" and not any(map(varies, config.psf)):
        lines.append(
            f"{plan.n_tiles} networks will be trained, one for each tile; one for all is tens of times faster and, on "
            "tiles like those it is trained on, at least as good; others take a classical solver "
            "(docs/experiments.md): --set training.scope=shared"
        )
    return lines


def _state(config: RunConfig) -> str:
    """Return the state folder: that of an output by URL has to be given."""
    path = config.state_path
    return "null" if isinstance(config.output.path, Path) else str(path.with_name(f"{path.name}-first-try"))


def _middle(prepared: Prepared) -> str:
    """Return a region of at most about a million voxels in the middle, of one time point and channel."""
    document = prepared.document
    volume, plan, config = document.volume, document.plan, document.config
    planes = min(plan.shape[2], _PLANES) if plan.dimensions == 3 else 1
    side = math.isqrt(_VOXELS // planes)
    channels = plan.shape[1] if len(config.psf) > 1 else 1  # one PSF for each
    parts = []
    for axis, (start, stop), most in zip(
        AXES, region_of_interest(volume, config.input.roi), (1, channels, planes, side, side), strict=True
    ):
        if axis in volume.axes:
            size = min(stop - start, most)
            first = start + (stop - start - size) // 2
            parts.append(f"{axis}: [{first}, {first + size}]")
    return f"{{{', '.join(parts)}}}"
