"""Golden statistics of a small tile per solver, which guard the number ``ALGORITHM``.

    python tests/golden_tiles.py       after ``ALGORITHM`` was raised, or a solver was added: writes its statistics

Bytes differ between processors and versions of torch, so that statistics are stored and compared with a tolerance.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classical_cases import as_measurement, blobs, blur, gaussian_psf

from ssi_pipeline.config import parse_config
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solve import solve
from ssi_pipeline.methods import SOLVERS
from ssi_pipeline.storage.state.document import ALGORITHM

FILE = Path(__file__).with_name("golden_tiles.json")

TOLERANCE = 1e-3
"""Tolerance in standard deviations of the estimate. Measured: two threads instead of one, or convolutions without
oneDNN, change no stored digit; one more training step changes twice the tolerance."""

_INSIDE = (slice(4, -4), slice(4, -4))
"""Of the middle plane. Excludes a margin of the PSF's radius, which the data hardly determine."""

_PIXELS = ((8, 5), (14, 32), (20, 20), (27, 13), (33, 6), (36, 34))

_SECTIONS: dict[str, Any] = {
    "network": {"width": 4, "levels": 2},
    "training": {"steps": 40, "patch": 32, "batch": 1, "attempts": 1, "learning_rate": 5e-3, "select": "network"},
    "published": {"steps": 1},
}

SIMULATED = "ssi, simulated start"
"""The default network, with the weights of the package: its result tells when these change."""

BORDER = "ssi, simulated start, at the border"
"""The same, trained, where the tile exceeds the image by the radius of the PSF, as at the border of an input."""

_SIMULATED: dict[str, dict[str, Any]] = {
    SIMULATED: {"network": {}, "training": {**_SECTIONS["training"], "steps": 3}},
    # f outside the image, trained and not kept, changes five times the tolerance; rounding of a processor a hundredth
    BORDER: {
        "network": {},
        "training": {"steps": 30, "patch": 48, "batch": 4, "attempts": 1, "learning_rate": 5e-4, "select": "network"},
    },
}

VOLUMES = {f"{solver}, 3D": solver for solver in ("ssi", "richardson_lucy", "tv", "tv_cg")}
"""Solvers that treat a volume in another way than a plane."""

CASES = (*SOLVERS, SIMULATED, BORDER, *VOLUMES)


def tile_of(case: str) -> dict[str, Any]:
    """Calibrate on one small tile with Poisson noise, solve it, and return statistics of the estimate."""
    solver = "ssi" if case in _SIMULATED else VOLUMES.get(case, case)
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": solver}
    sections = _SECTIONS | _SIMULATED.get(case, {})
    psf, side = gaussian_psf(), 64 if case == BORDER else 48
    shape: tuple[int, ...] = (side, side)
    if case in VOLUMES:
        psf, shape = replace(gaussian_psf(3), voxel_size_um=(0.3, 0.1, 0.1)), (12, side, side)
        sections = sections | {
            "tiling": {"dimensions": 3},
            "training": {**_SECTIONS["training"], "patch": {"z": 12, "y": 32, "x": 32}},
        }
    config = parse_config({**document, **sections})
    level = 100 + 400 * blur(blobs(shape), psf)
    pad = (0, 4, 4) if case == BORDER else (0, 0, 0)
    measurement = as_measurement(np.random.default_rng(0).poisson(level), pad)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        calibration = calibrate([measurement], psf, config)
        found = solve(build_problem(psf, calibration, config, "cpu"), measurement, 0)
    finally:
        torch.set_num_threads(threads)
    return {"method": found.method, **_numbers(found, SOLVERS[solver].own_recipe)}


def _numbers(found: Solution, own_recipe: bool) -> dict[str, Any]:
    """Return statistics of a solution, and the scale of their tolerance.

    For the published recipe this is the loss before the first step: its steps are so large (Adam at 0.01 on
    batch-normalised layers) that another order of summation changes the estimate by its standard deviation.
    """
    plane = found.estimate[(len(found.estimate) // 2, *_INSIDE)].astype(np.float64)
    values = [found.trace[0][1]] if own_recipe else [plane.mean(), plane.std(), *(plane[pixel] for pixel in _PIXELS)]
    scale = values[0] if own_recipe else plane.std()
    return {"scale": float(f"{scale:.6g}"), "values": [float(f"{value:.6g}") for value in values]}


def differ(found: dict[str, Any], kept: dict[str, Any]) -> bool:
    """Return whether two results differ by more than rounding."""
    change = np.abs(np.array(found["values"]) - np.array(kept["values"])).max()
    return bool(found["method"] != kept["method"] or change > TOLERANCE * kept["scale"])


def record() -> None:
    """Write the numbers of what is new or changed; those that differ by rounding alone stay."""
    kept = json.loads(FILE.read_text())
    found = {name: tile_of(name) for name in CASES}
    changed = [name for name, tile in found.items() if name in kept["tiles"] and differ(tile, kept["tiles"][name])]
    if changed and kept["algorithm"] == ALGORITHM:
        raise SystemExit(f"the results of {', '.join(changed)} changed: raise ALGORITHM first")
    tiles = {name: tile if name in changed else kept["tiles"].get(name, tile) for name, tile in found.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(tile)}" for name, tile in tiles.items())
    FILE.write_text(f'{{\n "algorithm": {ALGORITHM},\n "tiles": {{\n{lines}\n }}\n}}\n')


if __name__ == "__main__":
    record()
