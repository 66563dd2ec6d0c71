"""Figures as in the paper: 4 (crops and spectra) and 5 (trade-off of Richardson-Lucy)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssi_pipeline.benchmark.images import read_truth
from ssi_pipeline.benchmark.rows import Row
from ssi_pipeline.benchmark.setup import Benchmark
from ssi_pipeline.benchmark.tables import good, mean_over_images

_CLASSICAL = ("richardson_lucy", "wiener", "wiener_likelihood", "tv_cg", "tv")
_COLUMNS = ("blurry", "input", "lr5", "classical", "ssi_published", "ssi")
_LARGEST_CROP = 160
_DECADES = 5.0
"""Displayed range of the spectra, in decades below the maximum of the ground truth."""


def save_figures(benchmark: Benchmark, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write a figure per image and one of the trade-off; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in benchmark.images:
        panels = _panels(benchmark, rows, path.stem)
        if panels:
            truth = read_truth(path, benchmark.options.crop)
            written.append(_save(crops_figure(path.stem, truth, panels), folder / f"{path.stem}.png"))
    if any(row.curve for row in rows):
        written.append(_save(trade_off_figure(benchmark, rows), folder / "trade-off.png"))
    return written


def crops_figure(name: str, truth: NDArray[np.float32], panels: Sequence[tuple[str, NDArray[np.float32]]]) -> Figure:
    """Draw the busiest crop of the ground truth and of each (title, estimate), and the spectra of the whole images."""
    columns = [("ground truth", truth), *panels]
    figure = Figure(figsize=(2.3 * len(columns), 5.1), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    window = busiest_crop(truth)
    low, high = (float(v) for v in np.percentile(truth[window], [0.5, 99.8]))
    brightest = spectrum(truth).max()
    for column, (title, image) in enumerate(columns):
        crop, below = axes[0][column], axes[1][column]
        crop.imshow(image[window], cmap="gray", vmin=low, vmax=max(high, low + 1e-3), interpolation="nearest")
        crop.set_title(title, fontsize=8)
        shown = spectrum(image)
        below.imshow(shown, cmap="magma", vmin=brightest - _DECADES, vmax=brightest, aspect="equal")
        for axis in (crop, below):
            axis.set(xticks=[], yticks=[])
    axes[0][0].set_ylabel(f"{name}, crop", fontsize=8)
    axes[1][0].set_ylabel("log spectrum, whole image", fontsize=8)
    return figure


def trade_off_figure(benchmark: Benchmark, rows: Sequence[Row]) -> Figure:
    """Draw PSNR against spectral mutual information (means over images): points, and a curve over iterations."""
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    curve = mean_curve(rows)
    axes.plot(curve[:, 2], curve[:, 1], "-o", color="#808080", markersize=3, zorder=1)
    for n, level, sharpness in curve:
        if n in (1, 2, 5, 10, 15, len(curve)):
            axes.annotate(f"n = {n:.0f}", (sharpness, level), (4, -10), textcoords="offset points", fontsize=7)
    axes.plot([], [], "-o", color="#808080", markersize=3, label=f"Richardson-Lucy, n = 1 to {len(curve)}")
    _points(axes, benchmark, rows)
    axes.set(xlabel="spectral mutual information (sharper to the right)", ylabel="PSNR (dB; less noise upwards)")
    axes.set_title(f"mean over {len({row.image for row in rows})} images", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.25)
    return figure


def mean_curve(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return (n, PSNR, SMI) of the longest Richardson-Lucy run per image, averaged over images."""
    longest: dict[str, list[tuple[int, float, float]]] = {}
    for row in good(rows):
        if len(row.curve) > len(longest.get(row.image, [])):
            longest[row.image] = row.curve
    length = min(len(curve) for curve in longest.values())
    return np.asarray(np.mean([curve[:length] for curve in longest.values()], axis=0))


def busiest_crop(truth: NDArray[np.float32]) -> tuple[slice, slice]:
    """Return the window, on a grid of half windows, with the largest differences between neighbouring pixels."""
    side = min(_LARGEST_CROP, *truth.shape)
    energy = np.abs(np.diff(truth, axis=0))[:, :-1] + np.abs(np.diff(truth, axis=1))[:-1]
    step = max(1, side // 2)
    starts = [
        (y, x) for y in range(0, truth.shape[0] - side + 1, step) for x in range(0, truth.shape[1] - side + 1, step)
    ]
    y, x = max(starts, key=lambda s: float(energy[s[0] : s[0] + side, s[1] : s[1] + side].sum()))
    return slice(y, y + side), slice(x, x + side)


def spectrum(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log10 of the centred Fourier transform's magnitude, with a Hann window."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window)))
    return np.asarray(np.log10(magnitude + 1e-12))


def _points(axes: Axes, benchmark: Benchmark, rows: Sequence[Row]) -> None:
    markers = "sD^vPX*<>hdp"
    shown = [m for m in benchmark.methods if not m.name.startswith("lr")]
    for i, method in enumerate(shown):
        x, y = (mean_over_images(rows, method.name, metric) for metric in ("smi", "psnr"))
        if math.isfinite(x):
            size = 110 if method.name == "ssi" else 45
            axes.scatter(x, y, size, marker=markers[i % len(markers)], label=method.title, zorder=2)


def _panels(benchmark: Benchmark, rows: Sequence[Row], image: str) -> list[tuple[str, NDArray[np.float32]]]:
    """Return (title, estimate) of the available methods to show; of the classical ones the best."""
    titles = {method.name: method.title for method in benchmark.methods}
    psnrs: dict[str, float] = {}
    for row in good(rows):
        if row.image == image:
            psnrs.setdefault(row.method, row.metrics["psnr"])  # the first seed
    classical = max((m for m in _CLASSICAL if m in psnrs), key=psnrs.__getitem__, default="")
    jobs = {job.method: job for job in reversed(benchmark.jobs) if job.image == image}
    panels = []
    for name in _COLUMNS:
        method = classical if name == "classical" else name
        if method in psnrs:
            title = f"{titles[method]}\n{psnrs[method]:.2f} dB"
            panels.append((title, np.asarray(np.load(jobs[method].estimate_path), np.float32)))
    return panels


def _save(figure: Figure, path: Path) -> Path:
    figure.set_dpi(130)
    FigureCanvasAgg(figure).print_png(str(path))
    return path
