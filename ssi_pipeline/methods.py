"""The table of solvers and the table of results: one row each, free of torch.

Rows are plain data, so that plan, report and status read them without importing torch. To add a solver: write its file,
its row here and its line in the configuration template (CONTRIBUTING.md). No other module branches on a solver's name.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

Reach = Literal["nothing", "wiener", "iterates", "network", "published"]
"""What the halo has to cover: nothing; the Wiener kernel; the dependence of an iterative solver on the measurement; the
network's receptive field and the Wiener kernel; or the receptive field of the published network."""

Blend = Literal["never", "own networks", "always"]
"""Whether tiles overlap and are blended. 'own networks': only where each tile trains a network of its own."""

LINEAR_FLOATS = 24
"""Floats per voxel: the impulse test sorts windows of voxels in slabs, the Wiener filter needs padded spectra."""


@dataclass(frozen=True, slots=True)
class Solver:
    """One solver: its name in the configuration, its implementation, and what geometry and calibration need of it.

    Attributes
    ----------
    name
        Value of the option ``solver``.
    result
        Name of the row in ``RESULTS`` that its tiles are recorded with.
    load
        Implementation as ``module:attribute``: a ``Classical`` where ``tunes`` is set, otherwise a function with the
        signature of ``inversion.solver.Solver``. Empty where nothing is computed.
    reach, blend
        Halo and blending of its tiles.
    floats
        Memory in floats per voxel of a tile's domain, beyond the tile itself.
    computes
        It inverts a PSF and needs a device.
    trains
        It trains a network, so that ``training.precision`` applies.
    network
        It trains the network of the section ``network``.
    own_recipe
        It has its own normalisation, noise and masks, and returns no function of an image to evaluate again.
    tunes
        Its regularisation weight, or number of iterations, is tuned on samples of the channel.
    likelihood
        Its weight can be set by maximum marginal likelihood.
    counts
        The tuned parameter is a number of iterations, each of which reaches two PSF radii.
    knows_sensor
        Its forward model includes the sensor, so that the bias of clipping is not corrected beforehand.
    least_side
        Smallest image size in pixels along each axis.
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
        """Whether it returns a function of an image that scores and the uncertainty can evaluate again."""
        return self.computes and not self.own_recipe

    def loaded(self) -> Any:
        """Import the implementation; imports torch."""
        module, _, name = self.load.partition(":")
        return getattr(importlib.import_module(module), name)


_INVERSION = "ssi_pipeline.inversion"
_CLASSICAL = f"{_INVERSION}.classical"

PUBLISHED_POOLINGS = 4

PUBLISHED_LEAST_SIDE = 2 ** (PUBLISHED_POOLINGS + 1)
"""Smallest size in pixels along an axis; below, batch normalisation sees a single pixel at the deepest level."""

_PUBLISHED: dict[str, Any] = {
    "result": "published",
    "reach": "published",
    "floats": 400,  # per voxel in a training step on the whole tile, measured on 512 x 512
    "trains": True,
    "own_recipe": True,
    "least_side": PUBLISHED_LEAST_SIDE,
}

_ITERATES: dict[str, Any] = {"reach": "iterates", "tunes": True}

_SLOPES = 20
"""Floats per voxel for iterates, their gradients along three axes and spectra, beyond the linear solution."""

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
    """One way in which a tile's estimate was obtained, as stored in the ledger and in ``quality/method``.

    Attributes
    ----------
    name
        Value in the ledger.
    code
        Value in ``quality/method``; never reused.
    title, short
        Labels in the report: in tables, and on maps.
    colour
        Colour on maps: a step of viridis, with network and linear solution far apart in lightness; grey where nothing
        was solved.
    """

    name: str
    code: int
    title: str
    short: str
    colour: str


UNMEASURED = "unmeasured"
"""Result of tiles that consist of fill and masked pixels."""

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
    Result(UNMEASURED, 9, "fill or masked: not solved, written as it was", "not measured", "#e6e6e6"),
)

RESULTS: dict[str, Result] = {result.name: result for result in _RESULTS}
