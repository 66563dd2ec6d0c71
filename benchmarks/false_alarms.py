"""How many undisturbed tiles raise an alarm, and how many that were solved with a wrong PSF do not.

Each picture is blurred by the configured Gaussian, given shot noise and read noise, and run as 400 tiles of 24 pixels
with the linear solver: once as it is, and once with a few tiles solved with a PSF 1.5 times as wide.

    python benchmarks/false_alarms.py --output build/false_alarms
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import skimage
import zarr
from _common import Row, begin, plain_parser, say
from scipy import ndimage

from ssi_pipeline.benchmark.images import read_truth
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import GaussianPsf, RunConfig, parse_config
from ssi_pipeline.inversion import solve
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solver import SolveOptions
from ssi_pipeline.physics import load_psf
from ssi_pipeline.quality.alarms import names_of
from ssi_pipeline.results.finish import tile_metrics
from ssi_pipeline.run import run
from ssi_pipeline.tasks.opening import open_context
from ssi_pipeline.tasks.seeds import seed_for

PICTURES = "camera,hubble_deep_field,gravel,moon,brick"
"""Bright, dark and sparse, textured, of low contrast, regular."""

PHOTONS = {"bright": 500.0, "dim": 40.0}
"""Of white; the read noise has a deviation of 4, the background is 100."""

CORE, BLEND, WIDTH, WIDER = 24, 6, 3.0, 1.5
_SHARE = 0.03
"""Of the tiles, those with the wrong PSF."""


def configured(folder: Path, changes: Sequence[str]) -> RunConfig:
    """Return the configuration of a run in a folder; changes: ``solver=tv`` and the like."""
    document: dict[str, Any] = {
        "input": {"path": str(folder / "in.zarr"), "axes": "yx"},
        "output": {"path": str(folder / "out.zarr"), "pyramid": False},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": WIDTH, "x": WIDTH}},
        "solver": "wiener",
        "tiling": {"core": CORE, "blend": BLEND},
        "executor": {"kind": "serial", "device": "cpu"},
    }
    for change in changes:
        key, _, value = change.partition("=")
        section = document
        *path, last = key.split(".")
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return parse_config(document)


def measured(name: str, light: str, side: int, seed: int) -> np.ndarray:
    """Return a picture (uint16, y x) as a camera sees it."""
    truth = read_truth(next(Path(skimage.data.__file__).parent.glob(f"{name}.*g")), side)
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(truth.astype(np.float64), WIDTH / 2.3548) * PHOTONS[light]
    return (rng.poisson(blurred + 100) + rng.normal(0, 4, blurred.shape)).clip(0).round().astype(np.uint16)


@contextlib.contextmanager
def wrong_psf(tiles: Sequence[int]) -> Iterator[None]:
    """Solve these tiles with a PSF ``WIDER`` times as wide, in runs with the seed 0."""
    width = WIDTH * WIDER
    wide = load_psf(GaussianPsf(kind="gaussian", fwhm_px={"y": width, "x": width}), None, 2)
    solved, wrong = solve.solve, {seed_for(0, "solve", index) for index in tiles}

    def sabotaged(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions) -> Solution:
        if seed in wrong:  # not the n-th call: a tile that is tried again would shift the others
            problem = build_problem(wide, problem.calibration, problem.config, problem.device)
        return solved(problem, measurement, seed, options)

    with mock.patch.object(solve, "solve", sabotaged):
        yield


def trial(image: np.ndarray, changes: Sequence[str], sabotage: Sequence[int]) -> Row:
    """Run a picture; returns its number of tiles, and of alarms by name, for all tiles and those with a wrong PSF."""
    with tempfile.TemporaryDirectory(prefix="ssi-alarms-") as folder:
        config = configured(Path(folder), changes)
        zarr.create_array(config.input.path, data=image, chunks=(64, 64))
        with wrong_psf(sabotage):
            outcome = run(config)
        if not outcome.complete:
            raise SystemExit(f"the run did not complete: {outcome}")
        flag = tile_metrics(open_context(config))["flag"].ravel()
    return {"tiles": flag.size, "sabotaged": list(sabotage), "names": [names_of(float(f)) for f in flag]}


def sheet(rows: Sequence[tuple[str, Row]]) -> Sheet:
    """Return a line for each run: of how many tiles an alarm is raised."""
    lines = []
    for key, row in rows:
        wrong = set(row["sabotaged"])
        names = dict(enumerate(row["names"]))
        false = [names[i] for i in names if i not in wrong and names[i]]
        counts = {n: sum(n in f for f in false) for n in sorted({n for f in false for n in f})}
        caught = [names[i] for i in sorted(wrong) if names[i]]
        by = sorted({n for f in caught for n in f})
        lines.append([
            key,
            f"{len(false)} of {len(names) - len(wrong)} ({len(false) / (len(names) - len(wrong)):.1%})",
            ", ".join(f"{n} {c}" for n, c in counts.items()) or "none",
            f"{len(caught)} of {len(wrong)}" if wrong else "",
            ", ".join(f"{n} {sum(n in f for f in caught)}" for n in by),
        ])  # fmt: skip
    headings = ["run", "undisturbed tiles with an alarm", "which", "wrong PSF with an alarm", "which alarms"]
    return Sheet("Alarms of tiles", headings, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = plain_parser(__doc__)
    options.add_argument("--pictures", default=PICTURES)
    options.add_argument("--light", default=",".join(PHOTONS))
    options.add_argument("--seeds", default="0,1,2", help="of the noise")
    options.add_argument("--side", type=int, default=20 * CORE, help="pixels of the crops")
    options = options.parse_args(arguments)
    short = {"pictures": "camera", "light": "bright", "seeds": "0", "side": 4 * CORE}
    with begin("false_alarms", options, short) as study:
        rows = []
        tiles = (-(-options.side // CORE)) ** 2
        for name in options.pictures.split(","):
            for light in options.light.split(","):
                for seed in map(int, options.seeds.split(",")):
                    image = measured(name, light, options.side, seed)
                    chosen = np.random.default_rng(seed).choice(tiles, max(1, round(_SHARE * tiles)), replace=False)
                    for kind, wrong in (("clean", []), ("wrong", sorted(int(i) for i in chosen))):
                        key = f"{name}.{light}.{seed}.{kind}"
                        setup = {"side": options.side, "changes": options.changes}
                        row = study.row(key, setup, lambda i=image, w=wrong: trial(i, options.changes, w), device=None)
                        rows.append((key, row))
                        say(f"{key}: {sum(map(bool, row['names']))} of {row['tiles']}")
        study.finish("Alarms", [sheet(rows)])


if __name__ == "__main__":
    main()
