"""How often a tile of noise alone is taken for blank, and one that holds a little.

Structures are in standard deviations of the noise: the peak of a blurred point (`bead`), the deviation of a blurred
random texture, the rise of a slope over the tile, the height of a disc (ball) of 16 pixels. The PSF is a Gaussian, 3
pixels wide at half its height (6 along z). `--stack` adds tiles of a real stack, of which nobody knows the truth.

    python benchmarks/blank.py --tiles 50 --stack dapi_widefield.tif --output build/blank
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
import torch
from _common import Row, begin, plain_parser, say
from scipy import signal

from ssi_pipeline.benchmark.methods import configuration
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig
from ssi_pipeline.inversion.assess.signal_test import is_noise_only, lone_impulses, tile_is_noise_only
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.sensor.impulses import ImpulseTest, NoiseModel, point_source_kappa
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics import Psf
from ssi_pipeline.physics.psf import psf_values

SHAPES = {"128 x 128": (128, 128), "320 x 320": (320, 320), "24 x 64 x 64": (24, 64, 64)}
NOISES = {"Gaussian": 0.0, "100 photons": 100.0, "10 photons": 10.0, "2 photons": 2.0}
KINDS = (
    "noise 0", "bead 3", "bead 4", "bead 5", "texture 0.1", "texture 0.2", "texture 0.3", "disc 0.5", "disc 1",
    "slope 0.5", "slope 2",
)  # fmt: skip
FWHM = {"y": 3.0, "x": 3.0, "z": 6.0}
_SAMPLES = 16


def gaussian_psf(axes: int) -> Psf:
    """Return the PSF, z y x; z of length 1 where tiles are planes."""
    along = []
    for name in "zyx":
        sigma = FWHM[name] / 2.3548
        reach = math.ceil(4 * sigma)
        x = np.arange(-reach, reach + 1) if name != "z" or axes == 3 else np.zeros(1)
        along.append(np.exp(-0.5 * (x / sigma) ** 2))
    values = np.einsum("z,y,x->zyx", *along)
    return Psf((values / values.sum()).astype(np.float32))


def linear(axes: int) -> RunConfig:
    """Return the configuration that a tile is posed with; no solver is run."""
    base = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}
    return configuration("wiener", base={**base, "tiling": {"dimensions": axes}})


def blur(light: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Return the convolution, dark beyond the borders."""
    return signal.fftconvolve(light, psf, mode="same")


def structure(kind: str, shape: tuple[int, ...], psf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a structure, (z) y x, in standard deviations of the noise."""
    name, amount = kind.split()
    if name == "slope":
        return float(amount) * np.broadcast_to(np.linspace(-0.5, 0.5, shape[-1]), shape)
    if name == "texture":
        texture = blur(rng.standard_normal(shape), psf)
        return float(amount) * texture / texture.std()
    light = np.zeros(shape)
    if name == "disc":
        away = np.ogrid[tuple(slice(0, n) for n in shape)]
        light += sum((a - n // 2) ** 2 for a, n in zip(away, shape, strict=True)) < 64
        return float(amount) * blur(light, psf)
    if name == "bead":
        light[tuple(int(rng.integers(n // 6, n - n // 6)) for n in shape)] = float(amount) / psf.max()
        return blur(light, psf)
    return light


def blanks(kind: str, noise: str, shape: tuple[int, ...], tiles: int) -> int:
    """Return how many of the tiles of a kind are taken for blank; their noise is known."""
    psf = psf_values(gaussian_psf(len(shape)), len(shape))
    photons, found = NOISES[noise], 0
    sensor = NoiseModel(1.0, 0.0) if photons else NoiseModel(0.0, 1.0)
    impulses = ImpulseTest(sensor, 3.0, point_source_kappa(psf))
    for seed in range(tiles):
        rng = np.random.default_rng((seed, len(shape)))
        x = structure(kind, shape, psf, rng)
        drawn = rng.poisson(np.maximum(photons + math.sqrt(photons) * x, 0)) if photons else x + rng.normal(size=shape)
        y = drawn.astype(np.float32)
        usable = ~impulses.find(torch.from_numpy(y)).numpy()
        everywhere = np.ones(shape, bool)
        without = everywhere & ~lone_impulses(y, everywhere, usable, sensor)
        found += any(is_noise_only(y, use, sensor, psf) for use in (everywhere, without))
    return found


def of_stack(path: Path, shape: tuple[int, ...]) -> Row:
    """Return how many of a stack's tiles are taken for blank; z of 1: planes."""
    stack = tifffile.imread(path).astype(np.float32)
    axes = 3 if shape[0] > 1 else 2
    psf, config = gaussian_psf(axes), linear(axes)
    tiles = []
    for start in np.ndindex(*(n // s for n, s in zip(stack.shape, shape, strict=True))):
        box = tuple(slice(a * s, (a + 1) * s) for a, s in zip(start, shape, strict=True))
        tiles.append(Measurement(stack[box], np.ones(shape, bool)))
    problem = build_problem(psf, calibrate(tiles[:: max(1, len(tiles) // _SAMPLES)], psf, config), config, "cpu")
    found = sum(tile_is_noise_only(problem, make_tile_tensors(problem, t, 0)) for t in tiles if not t.is_constant)
    return {"tiles": len(tiles), "blank": found, "constant": sum(t.is_constant for t in tiles)}


def main(arguments: Sequence[str] | None = None) -> None:
    options = plain_parser(__doc__)
    options.add_argument("--tiles", type=int, default=50, help="of each kind")
    options.add_argument("--stack", type=Path, action="append", default=[], help="a TIFF, z y x; may be repeated")
    options = options.parse_args(arguments)
    with begin("blank", options, {"tiles": 1}) as study:
        lines, real = [], []
        for size, shape in SHAPES.items():
            for noise in NOISES:
                counts = []
                for kind in KINDS:
                    key = f"{size}.{noise}.{kind}".replace(" ", "-")
                    make = lambda k=kind, n=noise, s=shape: {"blank": blanks(k, n, s, options.tiles)}  # noqa: E731
                    counts.append(study.row(key, {"tiles": options.tiles}, make, device=None)["blank"])
                lines.append([f"{size}, {noise}", *(f"{100 * c / options.tiles:.1f}" for c in counts)])
                say(f"{size}, {noise}: {counts}")
        for path in options.stack:
            for shape in ((1, 64, 64), (16, 48, 48)):
                row = of_stack(path, shape)
                real.append([path.stem, " x ".join(map(str, shape)), *(str(row[k]) for k in row)])
        tables = [Sheet(f"Taken for blank, % of {options.tiles} tiles", ["tile and noise", *KINDS], lines)]
        if real:
            tables.append(Sheet("Real stacks", ["stack", "tile z y x", "tiles", "blank", "constant"], real))
        study.finish("Blank tiles", tables)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
