"""Methods of the comparison, and how each runs on one degraded plane.

No method has access to the ground truth. Solvers of the pipeline run as in ``ssi run``, with their
defaults, on the plane as a single tile.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.protocol import LEVELS, blur, degrade
from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.yaml_text import parse_yaml
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.physics.psf import Psf

_FIXED = ("schema_version", "input", "output", "psf", "solver", "tiling", "seed")
"""Configuration sections that the benchmark sets."""


@dataclass(frozen=True, slots=True)
class Degraded:
    """Input of a method: ``counts`` (uint16, 0 ... 1024, y x) and the PSF (y x).

    ``blurred``: without noise, for the reference row only. ``changes``: options like training.steps=200.
    """

    counts: NDArray[np.uint16]
    psf: NDArray[np.float64]
    blurred: NDArray[np.float32]
    changes: tuple[str, ...] = ()

    @classmethod
    def of(cls, truth: NDArray[np.float32], psf: NDArray[np.float64], changes: Sequence[str] = ()) -> Degraded:
        """Degrade a plane (y x, in [0, 1]) by the published protocol."""
        return cls(degrade(truth, psf), psf, blur(truth, psf), tuple(changes))

    @property
    def image(self) -> NDArray[np.float32]:
        """The measurement in [0, 1]."""
        return np.asarray(self.counts / np.float32(LEVELS), np.float32)


@dataclass(frozen=True, slots=True)
class Restored:
    """An estimate (y x, in the units of the ground truth, not clipped), seconds, and further facts.

    ``iterates``: intermediate estimates by number of iterations.
    """

    estimate: NDArray[np.floating]
    training_seconds: float = 0.0
    inference_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    iterates: Mapping[int, NDArray[np.floating]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table.

    ``restore``: function of the degraded plane and a seed. ``solver``: of the pipeline, or None. ``changes``: options,
    like training.steps=200, that differ from the solver's defaults; they override the user's.
    """

    name: str
    title: str
    description: str
    restore: Callable[[Degraded, int], Restored]
    solver: str | None = None
    random: bool = False
    changes: tuple[str, ...] = ()


def configuration(solver: str, changes: Sequence[str] = (), base: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the default configuration of a solver, with changes like ``training.steps=200``.

    ``base``: another document to change, for instance that of a workflow.

    Raises
    ------
    ConfigError
        A change is not ``key=value``, names an unknown option, or has an invalid value.
    """
    empty = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    document: dict[str, Any] = copy.deepcopy(dict(empty if base is None else base))
    for change in changes:
        key, equals, value = change.partition("=")
        *parents, leaf = key.split(".")
        fixed = (parents or [leaf])[0] in _FIXED or (parents == ["executor"] and leaf != "device")
        section = document
        for parent in parents:
            inner = section.setdefault(parent, {})
            section = inner if isinstance(inner, dict) else {}
        if not equals or fixed:
            why = "the benchmark sets this option; " if fixed else ""
            raise ConfigError(f"--set {change}: {why}expected an option of a solver, for instance training.steps=200")
        try:
            section[leaf] = parse_yaml(value)
        except ConfigError as error:
            raise ConfigError(f"--set {change}: {value!r} is not a valid YAML value") from error
    return parse_config({**document, "solver": solver}, name="--set")


def measurement(counts: NDArray[Any], radius: int | Ints, stride: int) -> tuple[Measurement, tuple[int | slice, ...]]:
    """Pad an image, (z) y x, by reflection as the pipeline does at borders; return it and the image's slices.

    ``radius``: pixels on each side, one number or one per axis. ``stride``: divides the padded sides.
    """
    radii = (radius,) * counts.ndim if isinstance(radius, int) else radius
    pads = [(r, r + -(n + 2 * r) % stride) for n, r in zip(counts.shape, radii, strict=True)]
    values, seen = np.pad(counts.astype(np.float32), pads, mode="reflect"), np.pad(np.ones(counts.shape, bool), pads)
    inside = tuple(slice(r, r + n) for n, r in zip(counts.shape, radii, strict=True))
    if counts.ndim == 3:
        return Measurement(values, seen), inside
    return Measurement(values[None], seen[None]), (0, *inside)


def run_solver(solver: str, degraded: Degraded, seed: int) -> Restored:
    """Calibrate and solve with a solver of the pipeline; calibration counts as training."""
    from ssi_pipeline.inversion.calibrate import calibrate  # brings torch
    from ssi_pipeline.inversion.solve import solve
    from ssi_pipeline.tasks.device import choose_device

    config = configuration(solver, degraded.changes)
    psf = Psf(degraded.psf[None].astype(np.float32))
    posed, inside = measurement(degraded.counts, max(psf.radius), network_stride(config.network.levels))
    started = time.perf_counter()
    calibration = calibrate([posed], psf, config)
    found = solve(build_problem(psf, calibration, config, choose_device(config.executor.device)), posed, seed)
    seconds = time.perf_counter() - started
    inference = found.inference_seconds or seconds
    facts = {"used": found.method, "attempts": found.attempts, "steps": found.steps, "note": found.note}
    if (weight := calibration.to_json().get("weight")) is not None:
        facts["weight"] = weight
    return Restored(found.estimate[inside] / np.float32(LEVELS), seconds - inference, inference, facts)


def _blurry(degraded: Degraded, seed: int) -> Restored:  # noqa: ARG001
    return Restored(degraded.blurred)


def _input(degraded: Degraded, seed: int) -> Restored:  # noqa: ARG001
    return Restored(degraded.image)


def _fixed_richardson_lucy(iterations: int) -> Callable[[Degraded, int], Restored]:
    def restore(degraded: Degraded, seed: int) -> Restored:  # noqa: ARG001
        """Return the last iterate, and the earlier ones in ``iterates``."""
        started = time.perf_counter()
        iterates = dict(enumerate(islice(richardson_lucy(degraded.image, degraded.psf), iterations), start=1))
        return Restored(iterates[iterations], 0.0, time.perf_counter() - started, iterates=iterates)

    return restore


def _by_solver(solver: str, changes: tuple[str, ...]) -> Callable[[Degraded, int], Restored]:
    return lambda degraded, seed: run_solver(
        solver, dataclasses.replace(degraded, changes=(*degraded.changes, *changes)), seed
    )


def _table() -> dict[str, Method]:
    rows = [
        Method("blurry", "blurry, no noise", "the noise-free blurred image: the result of perfect denoising", _blurry),
        Method("input", "blurry & noisy (input)", "the measurement", _input),
    ]
    for n in (5, 10, 20):
        title, text = f"Richardson-Lucy n = {n}", f"{n} iterations from the mean, as published"
        rows.append(Method(f"lr{n}", title, text, _fixed_richardson_lucy(n)))
    for name, title, text, random in _SOLVERS:
        solver, changes = _VARIANTS.get(name, (name, ()))
        rows.append(Method(name, title, text, _by_solver(solver, changes), solver, random, changes))
    return {row.name: row for row in rows}


_SOLVERS = (
    ("richardson_lucy", "Richardson-Lucy, n from the data", "iterations selected by the masked loss", False),
    ("wiener", "Wiener, Laplacian prior", "weight selected by the masked loss", False),
    ("wiener_likelihood", "Wiener, maximum-likelihood weight", "weight of maximum marginal likelihood", False),
    ("tv_cg", "conjugate gradient TV", "smoothed total variation, weight selected by the masked loss", False),
    ("tv", "Chambolle-Pock TV (Huber)", "Huber total variation, weight selected by the masked loss", False),
    ("ssi", "ours", "the pipeline's default", True),
    ("ssi_published_unmasked", "SSI UNet, no masking", "the published recipe without masks (ablation)", True),
    ("ssi_published", "SSI UNet (published recipe)", "the published recipe", True),
)
"""Name, title, description, whether the method is random; in the order of execution, the fast ones first."""

_VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wiener_likelihood": ("wiener", ("classical.weight=likelihood",)),
}
"""Solver and changes of rows that differ from a solver's defaults; other rows are named after their solver."""

METHODS = _table()

REFERENCES = ("blurry", "input")
"""Reference rows without restoration."""


def choose_methods(names: str | None) -> list[Method]:
    """Return the methods of a comma-separated list in table order; all for None.

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    if names is None:
        return list(METHODS.values())
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected some of {', '.join(METHODS)}"
            raise ConfigError(f"--methods: {name} is unknown; {hint}")
    if not asked:
        raise ConfigError(f"--methods is empty: expected some of {', '.join(METHODS)}")
    return [method for name, method in METHODS.items() if name in asked]
