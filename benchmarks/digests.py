"""Digests of everything that small runs write: a change of the code that computes nothing else leaves them equal.

    python benchmarks/digests.py --output before.json       before the change
    python benchmarks/digests.py --compare before.json      after it; exit status 1 where a byte of an image differs

All solvers, 2D and 3D, with and without the uncertainty map, all scopes of training, clipping sensors, gaps.
Equal bytes are promised for one processor and one version of torch, so the file is made and compared on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.config import load_config
from ssi_pipeline.run import run

_SHAPES = {2: (2, 48, 96), 3: (16, 32, 48)}
_TRAINING = {"steps": 8, "fine_tune_steps": 4, "patch": 32, "batch": 1, "attempts": 1}


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and configuration, without paths."""
    for dimensions in (2, 3):
        # the published network needs 32 pixels along each axis: in 2D alone
        published = ("ssi_published", "ssi_published_unmasked") if dimensions == 2 else ()
        for solver in ("identity", "wiener", "richardson_lucy", "tv", "tv_cg", "ssi", *published):
            for maps in (0, 2):
                if not (maps and solver in ("identity", *published)):
                    yield f"{solver}-{dimensions}d-map{maps}", _case(dimensions, solver, maps)
        for scope in ("shared", "fine_tune"):
            yield f"ssi-{scope}-{dimensions}d", _case(dimensions, "ssi", 0, scope=scope, shared_tiles=2)
    yield "ssi-network-2d", _case(2, "ssi", 0, select="network")
    yield "ssi-retrain-2d", _case(2, "ssi", 0, retrain=True)
    yield "ssi-validated-2d", _case(2, "ssi", 0, steps=110, weight_l1=1e-6, weight_l2=1e-5)
    for replacement in ("zeros", "random"):
        yield f"ssi-{replacement}-2d", _case(2, "ssi", 0) | {"masking": {"replacement": replacement, "density": 0.1}}


def _case(dimensions: int, solver: str, maps: int, **training: Any) -> dict[str, Any]:
    axes = "zyx"[-dimensions:]
    return {
        "psf": {"kind": "gaussian", "fwhm_px": dict.fromkeys(axes, 2.5)},
        "solver": solver,
        "output": {"path": "out.zarr", "uncertainty": maps},
        "tiling": {"dimensions": dimensions, "core": {"y": 32, "x": 32}},
        "network": {"width": 4, "levels": 2},
        "training": {**_TRAINING, **({"patch": {"z": 16, "y": 32, "x": 32}} if dimensions == 3 else {}), **training},
        "published": {"steps": 4},
        "executor": {"kind": "serial", "device": "cpu"},
    }


def image(dimensions: int, clipped: bool, gaps: bool) -> NDArray[Any]:
    """Return a blurred, noisy image, z y x."""
    rng = np.random.default_rng(dimensions)
    points = np.zeros(_SHAPES[dimensions])
    points[tuple(rng.integers(0, n, 60) for n in points.shape)] = rng.uniform(500, 4000, 60)
    found = rng.poisson(ndimage.gaussian_filter(points, [0 if dimensions == 2 else 1.0, 1.1, 1.1]) * 12 + 100)
    found = np.clip(found, 100, 700) if clipped else found
    if not gaps:
        return found.astype(np.uint16)
    return np.where(rng.random(found.shape) < 0.1, np.nan, found).astype(np.float32)


def digests_of(document: dict[str, Any], pixels: NDArray[Any], folder: Path) -> dict[str, str]:
    """Run a configuration; returns the digest of each chunk of the image and of its map."""
    zarr.create_array(folder / "in.zarr", data=pixels, chunks=(1, 48, 96), dimension_names=("z", "y", "x"))
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"input": {"path": "in.zarr"}, **document}))
    if not run(load_config(path), log=lambda _: None).complete:
        raise SystemExit(f"{path}: not complete: {document}")
    files = sorted(p for p in (folder / "out.zarr").rglob("*") if "c" in p.parts and p.is_file())
    kept = [p for p in files if "quality" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in kept}


def measure(only: str) -> dict[str, dict[str, str]]:
    """Return the digests of every case whose name contains ``only``."""
    found = {}
    for name, document in cases():
        for variant in ("plain", "clipped", "gaps"):
            if variant != "plain" and ("-2d-map0" not in name or "published" in name):
                continue
            if only in f"{name}-{variant}":
                dimensions = document["tiling"]["dimensions"]
                with tempfile.TemporaryDirectory(prefix="ssi-digests-") as folder, open(os.devnull, "w") as nowhere:
                    sys.stdout, screen = nowhere, sys.stdout
                    try:
                        pixels = image(dimensions, variant == "clipped", variant == "gaps")
                        found[f"{name}-{variant}"] = digests_of(document, pixels, Path(folder))
                    finally:
                        sys.stdout = screen
                print(f"{name}-{variant}: {len(found[f'{name}-{variant}'])} chunks", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write or compare the digests; returns 1 where some differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="file to write")
    parser.add_argument("--compare", type=Path, help="file to compare with")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--short", action="store_true", help="one case")
    options = parser.parse_args(arguments)
    found = measure("wiener-2d-map0-plain" if options.short else options.only)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    if not options.compare:
        return 0
    before = json.loads(options.compare.read_text())
    differ = [name for name, digests in found.items() if before.get(name) != digests]
    print(
        f"{len(found) - len(differ)} of {len(found)} cases are equal"
        + (f"; not: {', '.join(differ)}" if differ else "")
    )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
