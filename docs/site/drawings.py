"""Draw the pictures of docs/concepts.md and docs/start.md with the code that they explain.

``python docs/site/drawings.py`` writes docs/img/*.png, in about a minute.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import zarr  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from scipy.signal import fftconvolve  # noqa: E402
from skimage import data  # noqa: E402
from train_start import TRUTH, tile  # noqa: E402

import ssi_pipeline as ssi  # noqa: E402
from ssi_pipeline.config import MaskingConfig  # noqa: E402
from ssi_pipeline.inversion.masking import cover, draw_mask, generator, hide  # noqa: E402

IMAGES = ROOT / "docs" / "img"
WEIGHTS = np.geomspace(1e-3, 3, 13)


def scene(side: int = 192) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sharp, blurred and PSF: part of skimage's camera behind a Gaussian PSF."""
    sharp = data.camera()[70 : 70 + side, 150 : 150 + side].astype(np.float32) * 8
    rows = np.arange(-6, 7)
    psf = np.exp(-(rows[:, None] ** 2 + rows**2) / (2 * 1.5**2))
    psf /= psf.sum()
    blurred = fftconvolve(np.pad(sharp, 6, mode="reflect"), psf, mode="valid")
    return sharp, blurred.astype(np.float32), psf


def figure(columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of axes."""
    made = Figure(figsize=(width, height), layout="constrained")
    return made, list(np.atleast_1d(made.subplots(1, columns)))


def save(made: Figure, name: str) -> None:
    """Write a figure as PNG."""
    FigureCanvasAgg(made).print_figure(str(IMAGES / name), dpi=110)


def show(axis: Axes, image: NDArray[Any], title: str, **options: Any) -> None:
    """Show an image without axes."""
    axis.imshow(image, cmap="gray", interpolation="nearest", **options)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


def j_invariance() -> None:
    """Show one step: hide pixels, estimate from the others, blur, compare at the hidden pixels."""
    _, blurred, psf = scene()
    noisy = blurred + np.random.default_rng(0).normal(0, 150, blurred.shape).astype(np.float32)
    masking = MaskingConfig()
    hidden = draw_mask(noisy.shape, masking, generator(0, 3))
    shown = hide(torch.from_numpy(noisy), hidden, masking, generator(0, 2)).numpy()
    estimate = ssi.deconvolve(shown, psf, solver="tv_cg")
    predicted = fftconvolve(np.pad(estimate, 6, mode="reflect"), psf, mode="valid")
    part = np.s_[60:124, 40:104]
    range_ = {"vmin": 0, "vmax": 2000}
    made, axes = figure(5, 10, 2.4)
    show(axes[0], noisy[part], "measurement y", **range_)
    red = np.ma.masked_where(~hidden.numpy(), np.ones(noisy.shape))
    show(axes[1], noisy[part], "hide the pixels J", **range_)
    axes[1].imshow(red[part], cmap="autumn", vmin=1, vmax=2)
    show(axes[2], shown[part], "what f sees, m(y)", **range_)
    show(axes[3], estimate[part], "estimate x = f(m(y))", **range_)
    show(axes[4], np.where(hidden, predicted, np.nan)[part], "blurred, at J only", **range_)
    save(made, "j-invariance.png")


def masks() -> None:
    """Show a mask for white noise, and one for noise that three pixels along a row share."""
    white = draw_mask((40, 40), MaskingConfig(), generator(0, 3))
    footprint = torch.ones((1, 5), dtype=torch.bool)
    judged = draw_mask((40, 40), MaskingConfig(), generator(1, 3), footprint)
    made, axes = figure(2, 7, 3.6)
    show(axes[0], ~white.numpy(), "independent noise: hidden = compared")
    show(axes[1], 1 - 0.5 * cover(judged, footprint).numpy() - 0.5 * judged.numpy(),
         "noise shared along rows:\ngrey is hidden too, black is compared")  # fmt: skip
    save(made, "masks.png")


def halo() -> None:
    """Draw the middle tile of a plan, and the weight with which it is blended along x."""
    with tempfile.TemporaryDirectory() as folder:
        values = np.ones((768, 768), np.uint16)
        zarr.create_array(f"{folder}/i.zarr", data=values, chunks=(256, 256), dimension_names=("y", "x"))
        settings = {"input.path": f"{folder}/i.zarr", "output.path": f"{folder}/o.zarr",
                    "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}}, "tiling.core": 256}  # fmt: skip
        plan = ssi.plan(settings).tiles
    tile = plan.tile(4)
    made = Figure(figsize=(4.6, 6.4), layout="constrained")
    above, below = made.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    for number in range(9):
        core = plan.tile(number).core
        above.add_patch(Rectangle((core.start[2], core.start[1]), 256, 256, fill=False, ec="0.6"))
    for box, colour, text in ((tile.read, "#cfe0f3", "halo: read, result discarded"),
                              (tile.valid, "#f6dcae", "blend: result fades into the neighbours"),
                              (tile.core, "#bfe3c8", "core: belongs to this tile alone")):  # fmt: skip
        shape = box.shape
        corner = (box.start[2], box.start[1])
        above.add_patch(Rectangle(corner, shape[2], shape[1], fc=colour, ec="0.3", label=text))
    above.set(xlim=(-10, 778), ylim=(778, -10), title="the middle one of 3 x 3 tiles")
    above.set_box_aspect(1)
    above.legend(loc="lower center", fontsize=7)
    core, valid = tile.core, tile.valid
    edge, blend = core.start[2], core.start[2] - valid.start[2]
    x = np.arange(768)
    ramp = np.clip((x - edge + blend + 0.5) / (2 * blend), 0, 1)
    own = np.minimum(ramp, ramp[::-1])
    below.plot(x, own, color="#3f7d54", label="this tile")
    below.plot(x, 1 - own, color="0.6", label="its neighbours")
    below.set(ylabel="weight", xlabel="x, pixels", ylim=(-0.05, 1.15))
    below.set_box_aspect(0.25)
    below.legend(fontsize=7, loc="center left")
    save(made, "halo.png")


def score() -> None:
    """Plot the loss on hidden pixels and the error by the truth over the weight of a Wiener filter."""
    sharp, blurred, psf = scene()
    rng = np.random.default_rng(1)
    white = rng.normal(0, 150, blurred.shape)
    smooth = gaussian_filter(rng.normal(0, 150, blurred.shape), 1)
    made, axes = figure(3, 13, 3.6)
    cases: tuple[tuple[str, NDArray[Any], dict[str, Any]], ...] = (
        ("independent noise: the lowest score\nis the best image", white, {}),
        ("noise shared by neighbours, and not known:\nthe score prefers the noisiest", smooth / smooth.std() * 150,
         {"sensor": {"correlation": "none"}}),
        ("the same noise, found by the calibration:\nneighbours are hidden too", smooth / smooth.std() * 150, {}),
    )  # fmt: skip
    for axis, (title, noise, options) in zip(axes, cases, strict=True):
        noisy = (blurred + noise).astype(np.float32)
        losses, errors = [], []
        for weight in WEIGHTS:
            found = ssi.deconvolve(
                noisy, psf, solver="wiener", metrics=True, classical={"weight": float(weight)}, **options
            )
            losses.append(float(found.metrics["heldout_after"].squeeze()))
            errors.append(float(np.mean((found.image - sharp)[16:-16, 16:-16] ** 2)) / float(sharp.var()))
        for values, colour, text in (
            (losses, "#2478b5", "score, no truth"),
            (errors, "#d1741f", "error, by the truth"),
        ):
            scaled = (np.array(values) - min(values)) / (max(values) - min(values))
            axis.semilogx(WEIGHTS, scaled, color=colour, label=text)
            axis.plot(WEIGHTS[int(np.argmin(values))], 0, "o", color=colour, clip_on=False)
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="weight of the regularisation", yticks=[])
    axes[0].legend(fontsize=9)
    axes[0].set_ylabel("scaled to 0 ... 1")
    save(made, "score.png")


def start_scenes() -> None:
    """Draw simulated scenes, as measured and as they are."""
    made = Figure(figsize=(12, 4.2), layout="constrained")
    rows = made.subplots(2, 6)
    for axes, seed in zip(rows.T, (1000, 1004, 1006, 1013, 1009, 1018), strict=True):
        channels = tile(seed, 0.0, 0.0)
        limits = {"vmin": channels[TRUTH].min(), "vmax": channels[TRUTH].max()}
        show(axes[0], channels[0][:160, :160], "measured", **limits)
        show(axes[1], channels[TRUTH][:160, :160], "true", **limits)
    save(made, "start-scenes.png")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for draw in (j_invariance, masks, halo, score, start_scenes):
        draw()
        print(draw.__name__)
