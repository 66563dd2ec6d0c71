"""Every solver as one row, and every way in which a tile can come about: what all other modules ask.

A row is data alone, so that plans, reports and status read it without torch. To add a solver: write its file, its row
here, and its line in the configuration's template; no other module knows solvers by name (CONTRIBUTING.md).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

Reach = Literal["nothing", "wiener", "iterates", "network", "published"]
"""What the halo has to cover: no neighbour, the Wiener kernel, the same as the place where iterates come from, the
network on top of it, or the published network."""

Blend = Literal["never", "own networks", "always"]
"""Whether neighbouring tiles are solved apart, so that they have to be blended: with 'own networks', unless shared."""

LINEAR_FLOATS = 24
"""Per voxel: the impulse test sorts a window of every voxel in slabs, the Wiener filter works in padded spectra."""


@dataclass(frozen=True, slots=True)
class Solver:
    """A solver as the configuration names it.

    Attributes
    ----------
    result
        What its tiles are recorded as (see ``RESULTS``).
    load
        Module and attribute of what solves: a ``Classical`` where it tunes, else a function (see ``inversion.solve``);
        empty where nothing is computed.
    reach, blend
        For the geometry.
    floats
        Per voxel of a tile's domain, beyond the tile itself.
    computes
        There is a PSF to undo, and a device to do it on.
    trains
        It takes steps, whose precision counts.
    network
        It trains the network of the section ``network``.
    own_recipe
        It has intensities, noise and masks of its own, and no predictions to repeat.
    tunes
        Its weight, or number of iterations, is chosen on samples of the channel.
    likelihood
        That weight can be chosen by marginal likelihood.
    counts
        It is a number of iterations, each of which reaches two PSF radii.
    knows_sensor
        The sensor is in its model, so that the sensor's bias is not undone before.
    least_side
        Pixels along each axis that an image needs.
    """

    name: str
    result: str
    load: str
    reach: Reach
    blend: Blend = "always"
    floats: int = LINEAR_FLOATS
    computes: bool = True
    trains: bool = False
    network: bool = False
    own_recipe: bool = False
    tunes: bool = False
    likelihood: bool = False
    counts: bool = False
    knows_sensor: bool = False
    least_side: int = 1

    @property
    def predicts(self) -> bool:
        """Whether it is a function of an image that can be asked again: for scores, and for the uncertainty."""
        return self.computes and not self.own_recipe

    def loaded(self) -> Any:
        """Import what solves; brings torch."""
        module, _, name = self.load.partition(":")
        return getattr(importlib.import_module(module), name)


_INVERSION = "ssi_pipeline.inversion"
_CLASSICAL = f"{_INVERSION}.classical"

PUBLISHED_POOLINGS = 4

PUBLISHED_LEAST_SIDE = 2 ** (PUBLISHED_POOLINGS + 1)
"""Pixels along an axis below which its batch normalisation sees a single pixel at the deepest level."""

_PUBLISHED: dict[str, Any] = {
    "result": "published",
    "reach": "published",
    "floats": 400,  # alive per voxel in a training step on all of a tile at once, measured on 512 x 512
    "trains": True,
    "own_recipe": True,
    "least_side": PUBLISHED_LEAST_SIDE,
}

_ITERATES: dict[str, Any] = {"reach": "iterates", "tunes": True}

_SLOPES = 20
"""Floats per voxel that iterates, their slopes along three axes and spectra take beyond the linear solution."""

_ROWS = (
    Solver(
        "ssi",
        "network",
        f"{_INVERSION}.network.solver:solve_by_network",
        reach="network",
        blend="own networks",
        trains=True,
        network=True,
    ),
    Solver(
        "wiener",
        "wiener",
        f"{_CLASSICAL}.wiener:WIENER",
        reach="wiener",
        blend="never",
        tunes=True,
        likelihood=True,
    ),
    Solver(
        "richardson_lucy",
        "richardson_lucy",
        f"{_CLASSICAL}.richardson_lucy:RICHARDSON_LUCY",
        counts=True,
        knows_sensor=True,
        **_ITERATES,
    ),
    Solver("tv", "tv", f"{_CLASSICAL}.tv_chambolle_pock:TV", floats=LINEAR_FLOATS + _SLOPES, **_ITERATES),
    Solver("tv_cg", "tv_cg", f"{_CLASSICAL}.tv_conjugate_gradient:TV_CG", floats=LINEAR_FLOATS + _SLOPES, **_ITERATES),
    Solver("identity", "identity", "", reach="nothing", blend="never", floats=0, computes=False),
    Solver("ssi_published", load=f"{_INVERSION}.kobayashi2020.solve:solve_published", **_PUBLISHED),
    Solver("ssi_published_unmasked", load=f"{_INVERSION}.kobayashi2020.solve:solve_published_unmasked", **_PUBLISHED),
)

SOLVERS: dict[str, Solver] = {row.name: row for row in _ROWS}


@dataclass(frozen=True, slots=True)
class Result:
    """A way in which a tile can come about, as its record and ``quality/method`` have it.

    Attributes
    ----------
    code
        In outputs: a number is never given to anything else.
    title, short
        In the report's outcome, and on its maps.
    colour
        On maps: a step of viridis, network and linear solution far apart in lightness; grey for what was left alone.
    """

    name: str
    code: int
    title: str
    short: str
    colour: str


_RESULTS = (
    Result("identity", 0, "copied (identity)", "identity", "#fde725"),
    Result("network", 1, "self-supervised network", "network", "#a0da39"),
    Result("wiener", 2, "linear (Wiener) solution", "Wiener", "#440154"),
    Result("constant", 3, "constant tile, nothing to train on", "constant", "#277f8e"),
    Result("richardson_lucy", 4, "Richardson-Lucy", "Richardson-Lucy", "#365c8d"),
    Result("tv", 5, "total variation, primal-dual", "total variation", "#4ac16d"),
    Result("tv_cg", 6, "total variation, conjugate gradients", "total variation (CG)", "#46327e"),
    Result("published", 7, "network by the published recipe", "published", "#1fa187"),
    Result("blank", 8, "noise alone: linear solution, nothing to train on", "blank", "#bdbdbd"),
)

RESULTS: dict[str, Result] = {result.name: result for result in _RESULTS}
