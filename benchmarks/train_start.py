"""Train the parameters that a 2D network starts from, on simulated scenes: no image is used.

    python benchmarks/train_start.py scenes --first 1000 --count 600 a.npy
    python benchmarks/train_start.py train --steps 5000 --out start.npz a.npy b.npy
    python benchmarks/train_start.py train --steps 10000 --from start.npz --out better.npz a.npy b.npy c.npy

``scenes`` makes tiles of 256 x 256 pixels: a scene, a PSF, noise and the linear part of f as a run computes it, about
one a second. ``train`` makes the network return the scene, Adam with half a cosine of rates; it prints the change of
the mean squared error against that of the linear solution, on 40 scenes that are not trained on. ``--short``: both, in
seconds, without a result. How the weights of the package were made: docs/start.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _start_scenes import Floats, Rng, scene
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import fftconvolve
from torch import Tensor

from ssi_pipeline.benchmark.protocol import LEVELS, MICROSCOPE
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.linear.prior_weight import with_own_weight
from ssi_pipeline.inversion.masking import generator
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.network.inverse import Inverse
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.tile import make_tile_tensors
from ssi_pipeline.physics.gibson_lanni import gibson_lanni_intensity
from ssi_pipeline.physics.psf import Psf

SIDE, PATCH, BATCH, UNSEEN, EVERY = 256, 128, 8, 40, 500

EDGE = 32
"""Patches are drawn as if they could begin this much further out, so that half of them touch a border of the tile."""

WHOLE, MASKED, TRUTH = (0, 1), (2, 3), 4
"""Channels of a tile: r and w of the image, the same without its held-out pixels, and the scene, also around the image:
what f estimates there predicts pixels beside the border."""


def config() -> RunConfig:
    sections: dict[str, Any] = {"training": {"select": "network"}, "quality": {"extended": False}}
    return parse_config({"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, **sections})


def psf(rng: Rng) -> Floats:
    """Return no blur, a bell (Gaussian, or with other flanks; astigmatic), or a ring of the benchmark's objective."""
    kind = rng.integers(6)
    if kind == 0:
        return np.ones((1, 1))
    if kind <= 3:
        sigma, power = np.exp(rng.uniform(np.log(0.6), np.log(3))), rng.choice([2.0, 2.0, 1.0, 4.0])
        reach = int(np.ceil(3.2 * sigma))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        values = np.exp(-0.5 * (np.hypot(y, x * rng.uniform(0.7, 1)) / sigma) ** power)
    else:
        pixel, defocus, aperture, reach = rng.uniform(0.15, 0.45), rng.uniform(0, 4), rng.uniform(0.4, 0.95), 8
        optics = MICROSCOPE.model_copy(update={"numerical_aperture": aperture, "defocus_um": -defocus})
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        radius = np.hypot(y, x) * pixel
        places = np.arange(0, radius.max() + pixel, pixel / 4)
        values = np.interp(radius, places, gibson_lanni_intensity(optics, places, 0.0)) * (radius <= reach * pixel)
    values = np.clip(values, 0, None)
    return np.asarray(values / values.sum())


def camera(rng: Rng, light: Floats, correlated: float) -> NDArray[np.float32]:
    """Return counts of a camera: noise that may grow with the light or be correlated, impulses, clipping."""
    sigma = np.exp(rng.uniform(np.log(0.008), np.log(0.2)))
    alpha = rng.choice([0, 1]) * np.exp(rng.uniform(np.log(1e-4), np.log(0.03))) + 1e-6
    noise = rng.standard_normal(light.shape)
    if correlated and rng.uniform() < correlated:
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.3, 0.8) * np.array([1.0, rng.choice([0.0, 1.0, 1.0])]))
        noise /= noise.std()
    y = light + np.sqrt(sigma**2 + alpha * light) * noise
    if rng.uniform() < 0.4:
        hit = rng.uniform(size=y.shape) < rng.uniform(0, 0.02)
        y[hit] = rng.uniform(size=y.shape)[hit]
    if rng.uniform() < 0.4:
        y = np.clip(y, 0, 1)
    return np.round(LEVELS * y).astype(np.float32)


def tile(seed: int, smooth: float, correlated: float, border: bool = False) -> NDArray[np.float32]:
    """Return the channels of a simulated tile, 5 y x, normalised units; ``border``: with what is around the image."""
    rng = np.random.default_rng(seed)
    kernel = psf(rng)
    reach = kernel.shape[0] // 2
    side = SIDE - 2 * reach if border else SIDE
    wide = scene(rng, side + 2 * reach + 16, smooth)
    part = (slice(8 + reach, 8 + reach + side),) * 2
    if rng.uniform() < (0.5 if border else 0.25):  # nothing outside, as in the published protocol
        alone = np.zeros_like(wide)
        alone[part] = wide[part]
        wide = alone
    light = np.clip(fftconvolve(wide, kernel, mode="same"), 0, None)[part]
    y, optics = camera(rng, light, correlated)[None], Psf(kernel.astype(np.float32)[None], (1.0, 1.0, 1.0))
    calibration = calibrate([Measurement(y, np.ones(y.shape, bool))], optics, config())
    problem = build_problem(optics, calibration, config(), "cpu")
    pads = [(0, 0), (reach, reach), (reach, reach)]
    measured = Measurement(np.pad(y, pads, mode="reflect"), np.pad(np.ones(y.shape, bool), pads))
    problem, found = with_own_weight(problem, make_tile_tensors(problem, measured, seed), measured)
    goal = (wide[8:-8, 8:-8] * LEVELS - calibration.offset) / calibration.scale
    channels = np.stack([*found.whole.channels, *found.channels, goal]).astype(np.float32)
    return channels if border or not reach else channels[:, reach:-reach, reach:-reach]


def make_scenes(first: int, count: int, out: Path, smooth: float, correlated: float, border: bool) -> None:
    """Write ``count`` tiles to a file, count 5 y x; seeds from ``first`` on."""
    tiles = []
    for seed in range(first, first + count):
        tiles.append(tile(seed, smooth, correlated, border))
        if len(tiles) % 20 == 0:
            print(f"{len(tiles)} of {count}", flush=True)
    np.save(out, np.stack(tiles))


class Tiles:
    """Simulated tiles, with the constants that standardise them as a run does."""

    def __init__(self, files: list[Path]) -> None:
        data = np.concatenate([np.load(file) for file in files])
        self.data = torch.from_numpy(data)  # tile 5 y x
        parts = data[:, 0] - data[:, 1], data[:, 1]
        self.mean = torch.from_numpy(np.stack([p.mean((1, 2)) for p in parts], 1))
        self.spread = torch.from_numpy(np.stack([np.clip(p.std((1, 2)), 1e-3, 0.5) for p in parts], 1))
        linear = np.mean((data[:, 1] - data[:, TRUTH]) ** 2, axis=(1, 2))
        self.scale = torch.from_numpy(np.maximum(linear, 1e-7))  # squared error of the linear solution
        self.unseen = min(UNSEEN, len(data) // 3)

    def errors(self, inverse: Inverse, which: Tensor, patches: Tensor) -> Tensor:
        """Return squared errors relative to the linear solution; ``patches``: b (r, w, truth) y x."""
        r, w, truth = patches.unbind(1)
        inputs = torch.stack([r - w, w], 1) - self.mean[which][:, :, None, None]
        inputs = inputs / self.spread[which][:, :, None, None]
        correction = inverse.network(inputs.contiguous(memory_format=torch.channels_last))[:, 0].float()
        estimate = w + self.spread[which][:, :1, None] * correction
        return (estimate - truth).square().mean((1, 2)) / self.scale[which]

    def draw(self, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return the numbers of some tiles, and a turned patch of each."""
        which, patches = torch.from_numpy(rng.integers(self.unseen, len(self.data), BATCH)), []
        for i in which.tolist():
            y, x = np.clip(rng.integers(-EDGE, SIDE - PATCH + EDGE + 1, 2), 0, SIDE - PATCH)
            channels = [*(WHOLE if rng.uniform() < 0.5 else MASKED), TRUTH]
            patch = self.data[i, channels, y : y + PATCH, x : x + PATCH]
            flips = [axis for axis in (1, 2) if rng.uniform() < 0.5]
            patch = patch.flip(flips)
            patches.append(patch.transpose(1, 2) if rng.uniform() < 0.5 else patch)
        return which, torch.stack(patches)

    @torch.no_grad()
    def score(self, inverse: Inverse) -> float:
        """Return the mean change of the squared error by the network, dB, on the tiles that are not trained on."""
        unseen, channels = range(self.unseen), [*WHOLE, TRUTH]
        errors = [self.errors(inverse, torch.tensor([i]), self.data[i : i + 1, channels]) for i in unseen]
        return float((10 * torch.log10(torch.cat(errors))).mean())


def train(files: list[Path], steps: int, rate: float, out: Path, start: Path | None) -> None:
    """Train for a number of steps; write the moving average of the parameters as float16."""
    tiles, rng = Tiles(files), np.random.default_rng(0)
    inverse = Inverse(config().network, 2, generator(0))
    averaged = Inverse(config().network, 2, generator(0))
    if start is not None:
        with np.load(start) as file:
            state = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
        inverse.network.load_state_dict(state)
    averaged.load_state_dict(inverse.state_dict())
    optimiser = torch.optim.Adam(inverse.parameters(), lr=rate, betas=(0.9, 0.99))
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, step / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
        which, patches = tiles.draw(rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.log(tiles.errors(inverse, which, patches) + 0.02).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(inverse.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for mean, now in zip(averaged.parameters(), inverse.parameters(), strict=True):
                mean.lerp_(now, 1 - min(0.998, step / (step + 9)))
        if step % EVERY == 0 or step == steps:
            print(f"step {step}: {tiles.score(averaged):.3f} dB", flush=True)
            state = averaged.network.state_dict()
            np.savez_compressed(out, **{k: v.numpy().astype(np.float16) for k, v in state.items()})  # type: ignore[arg-type]


def short() -> None:
    """Make three tiles and train for two steps."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes.npy"
        make_scenes(0, 3, scenes, 0.5, 0.5, True)
        train([scenes], 2, 1e-3, Path(folder) / "start.npz", None)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="three tiles and two steps: whether it runs")
    commands = parser.add_subparsers(dest="command")
    making = commands.add_parser("scenes")
    making.add_argument("--first", type=int, required=True, help="first seed")
    making.add_argument("--count", type=int, required=True)
    making.add_argument("--smooth", type=float, default=0.0, help="share of scenes far out of focus")
    making.add_argument("--correlated", type=float, default=0.0, help="share of cameras with correlated noise")
    making.add_argument("--border", action="store_true", help="keep what is around the image: 256 pixels with it")
    making.add_argument("out", type=Path)
    training = commands.add_parser("train")
    training.add_argument("--steps", type=int, required=True)
    training.add_argument("--rate", type=float, default=3e-3)
    training.add_argument("--from", type=Path, dest="start")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("scenes", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.command == "scenes":
        make_scenes(given.first, given.count, given.out, given.smooth, given.correlated, given.border)
    elif given.command == "train":
        train(given.scenes, given.steps, given.rate, given.out, given.start)
    elif given.short:
        short()
    else:
        parser.error("expected scenes, train or --short")


if __name__ == "__main__":
    main()
