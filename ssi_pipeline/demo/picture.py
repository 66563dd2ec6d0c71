"""Before/after figure of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssi_pipeline.demo.compare import Row
from ssi_pipeline.quality.reference import psnr


def save_picture(path: Path, truth: NDArray[np.float32], rows: Sequence[Row]) -> None:
    """Write one row per plane: every method, then the ground truth, with the same contrast."""
    columns = len(rows) + 1
    height, width = truth.shape[1:]
    figure = Figure(figsize=(3.4 * columns, 3.4 * len(truth) * height / width + 0.5), layout="constrained")
    axes = figure.subplots(len(truth), columns, squeeze=False)
    for z, clean in enumerate(truth):
        images = [(f"{row.name}: {psnr(clean, row.planes[z]):.1f} dB", row.planes[z]) for row in rows]
        for axis, (title, image) in zip(axes[z], [*images, ("ground truth", clean)], strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    FigureCanvasAgg(figure).print_png(str(path))
