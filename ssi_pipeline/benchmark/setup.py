"""Set-up of the benchmark: validate the options and list the rows, before any computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.benchmark.identity import solver_identity
from ssi_pipeline.benchmark.images import find_images, image_digest, read_truth
from ssi_pipeline.benchmark.methods import Method, choose_methods, configuration
from ssi_pipeline.benchmark.protocol import benchmark_psf
from ssi_pipeline.benchmark.rows import Row, RowJob, read_row
from ssi_pipeline.config import FilePsf
from ssi_pipeline.errors import ConfigError, InputError, RunChangedError, SsiError
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.storage.state.made import refuse_foreign


@dataclass(frozen=True, slots=True)
class Options:
    """Options of ``ssi benchmark`` as given."""

    output: Path
    images: Path | None = None
    methods: str | None = None
    seeds: str = "0"
    psf: Path | None = None
    crop: int | None = None
    workers: int = 1
    changes: tuple[str, ...] = ()


MADE = ("rows", "estimates", "figures", "rows.json", "rows.csv", "summary.md")
"""Files that a benchmark writes to its output."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A validated benchmark: ``jobs`` in order of execution, ``done``: finished rows by job index."""

    options: Options
    images: list[Path]
    methods: list[Method]
    seeds: list[int]
    psf: NDArray[np.float64]
    jobs: list[RowJob]
    done: dict[int, Row]


def set_up(options: Options) -> Benchmark:
    """Check everything that can be checked without solving, and find finished rows.

    Raises
    ------
    ConfigError, InputError
        An option, an image or the PSF is invalid.
    ExecutorError
        This machine lacks the requested device.
    RunChangedError
        The output contains rows of another set-up.
    OutputError
        The output contains foreign files that would be replaced.
    """
    if options.workers < 1:
        raise ConfigError(f"--workers is {options.workers}: expected 1 or more")
    if options.crop is not None and options.crop < 1:
        raise ConfigError(f"--crop is {options.crop}: expected a number of pixels")
    if options.output.exists() and not options.output.is_dir():
        raise ConfigError(f"--output {options.output} is a file: expected a folder or a new name")
    methods, seeds = choose_methods(options.methods), _seeds(options.seeds)
    psf = _psf(options.psf)
    solvers = {m.name: _solver(m, options.changes) for m in methods}
    paths = find_images(options.images)
    truths = {path.stem: _checked_digest(path, options.crop, psf, methods) for path in paths}
    shared = {"crop": options.crop, "psf": Psf(psf[None].astype(np.float32)).digest}
    jobs = [
        RowJob(
            image=path.stem,
            path=str(path.resolve()),
            method=method.name,
            seed=seed,
            crop=options.crop,
            changes=options.changes,
            setup={**shared, "image": truths[path.stem], **solvers[method.name]},
            output=str(options.output.resolve()),
        )
        for method in methods
        for seed in (seeds if method.random else seeds[:1])
        for path in paths
    ]
    done = _done(jobs)
    if not any(job.row_path.exists() for job in jobs):  # readable rows show that the folder is ours
        refuse_foreign(options.output, MADE)
    return Benchmark(options, paths, methods, seeds, psf, jobs, done)


def _done(jobs: Sequence[RowJob]) -> dict[int, Row]:
    """Return the finished rows, without failed ones, which are retried."""
    done, other = {}, []
    for index, job in enumerate(jobs):
        row = read_row(job)
        if row is None:
            continue
        if changed := [key for key in job.setup if row.setup.get(key) != job.setup[key]]:
            other.append(f"{job.stem} ({', '.join(changed)})")
        elif not row.error and job.estimate_path.is_file():
            done[index] = row
    if other:
        shown = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        raise RunChangedError(
            f"{jobs[0].output} has rows of another set-up: {shown} (differences in brackets); "
            "choose another --output, or remove these rows"
        )
    return done


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds is {text!r}: expected distinct integers of at least 0, for instance 0,1,2")
    return seeds


def _psf(path: Path | None) -> NDArray[np.float64]:
    if path is None:
        return benchmark_psf()
    try:
        psf = load_psf(FilePsf(kind="file", path=path, energy=1.0), None, 2)
    except SsiError as error:
        raise InputError(f"--psf: expected one non-negative plane (y x) of odd sizes. {error}") from error
    if psf is None:
        raise InputError(f"--psf {path} contains no PSF")
    values = psf.values[0].astype(np.float64)
    return np.asarray(values / values.sum())


def _solver(method: Method, changes: tuple[str, ...]) -> dict[str, Any]:
    """Return the set-up of a method's rows; an invalid change is refused for every method."""
    config = configuration(method.solver or "ssi", (*changes, *method.changes))
    return solver_identity(config if method.solver else None)


def _checked_digest(path: Path, crop: int | None, psf: NDArray[np.float64], methods: Sequence[Method]) -> str:
    truth = read_truth(path, crop)
    if any(n < p for n, p in zip(truth.shape, psf.shape, strict=True)):
        raise InputError(f"{path} has {truth.shape} pixels (y x), fewer than the PSF, {psf.shape}: exclude this image")
    for method in methods:
        least = SOLVERS[method.solver].least_side if method.solver else 1
        if min(truth.shape) < least:
            raise InputError(
                f"{path} has {truth.shape} pixels (y x), but {method.name} needs {least}: "
                "exclude the image or the method"
            )
    return image_digest(truth)
