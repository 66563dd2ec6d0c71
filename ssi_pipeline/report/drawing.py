"""Figures of the report: matplotlib without pyplot, as inline SVG in the page's colours."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, ORANGE, GREY = "#2f7fc1", "#d47b14", "#8a8a8a"
"""Colours that differ in hue and lightness for all kinds of colour vision, on white and on near-black."""

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "ssi",
}
_NICE = (1, 2, 5)
_WIDE = 6.0
"""Width in inches from which a figure scrolls on narrow screens."""


_folder: ContextVar[Path | None] = ContextVar("folder for figures", default=None)


@contextmanager
def drawing_style(folder: Path | None = None) -> Iterator[None]:
    """Apply the report's style to figures created inside; also write each to ``folder`` as PNG and SVG."""
    token = _folder.set(folder)
    try:
        with matplotlib.rc_context(_STYLE):
            yield
    finally:
        _folder.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches; 10 inches fill the page."""
    return Figure(figsize=(width, height), layout="constrained")


def picture(figure: Figure, label: str) -> Markup:
    """Return a figure as an inline SVG whose black is the text colour of the page.

    Parameters
    ----------
    label
        Alternative text of the figure.
    """
    buffer, folder = io.StringIO(), _folder.get()
    # savefig would draw everything twice
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    if folder is not None:
        _save(figure, folder / _file_name(label))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("#000000", "currentColor")
    # identifiers must be unique across all SVGs of the page; unused ones are dropped
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    prefix = hashlib.blake2b((label + text).encode(), digest_size=4).hexdigest()
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{prefix}-", text)
    wide = " data-wide" if figure.get_figwidth() > _WIDE else ""  # scrolls on a phone
    return Markup(text.replace("<svg", f'<svg role="img"{wide} aria-label="{escape(label)}"', 1))


def _save(figure: Figure, path: Path) -> None:
    """Write a figure that was drawn once for print, on a white background. Its layout takes longer than drawing it."""
    figure.set_layout_engine("none")
    figure.set(facecolor="white", dpi=300)
    FigureCanvasAgg(figure).print_png(path.with_suffix(".png"))
    FigureCanvasSVG(figure).print_svg(path.with_suffix(".svg"), metadata={"Date": None})


def _file_name(label: str) -> str:
    """Return a file name from the first part of a figure's label, without a number for repeats."""
    words = re.sub(r"[^a-z0-9]+", "-", re.split(r"[:,] ", label)[0].lower()).strip("-")
    return f"{words}.png"


def hatch_missing(axes: Axes) -> None:
    """Hatch the background of an image to mark pixels without a value."""
    axes.patch.set(facecolor="none", hatch="////", edgecolor=GREY, linewidth=0)
    axes.patch.set_visible(True)


def bare(axes: Axes) -> None:
    """Remove ticks and frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def scale_bar(axes: Axes, shape: tuple[int, ...], pixel_um: float) -> None:
    """Draw a bar of a round length, about a quarter of the width of an image (y x, in pixels)."""
    length = round_below(shape[1] * pixel_um / 4)
    pixels = length / pixel_um
    x, y, unit = 0.04 * shape[1], 0.95 * shape[0], shape[1] / 100
    margin = 0.6 * unit
    axes.plot([x - margin, x + pixels + margin], [y, y], color="#101010", linewidth=5, solid_capstyle="butt")
    axes.plot([x, x + pixels], [y, y], color="#ffffff", linewidth=2.5, solid_capstyle="butt")
    text = f"{length:g} µm" if length >= 1 else f"{length * 1000:g} nm"
    # left-aligned with the bar: in a small panel the text is longer than the bar
    ground = {"facecolor": "#101010", "alpha": 0.65, "edgecolor": "none", "pad": 1.5}
    axes.annotate(
        text, (x, y), (0, 5), textcoords="offset points", color="#ffffff", ha="left", va="bottom", bbox=ground
    )


def round_below(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(n for n in _NICE if n <= value / power * (1 + 1e-9)) * power


def bin_count(n: int) -> int:
    """Return the number of bins of a histogram of ``n`` values, 8 to 40."""
    return min(40, max(8, 2 * math.isqrt(n)))


def limits(values: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two different percentiles of the finite values; (0, 1) if there are none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    a, b = (float(v) for v in np.percentile(finite.astype(np.float64), [low, high]))
    if a == b:
        a, b = float(finite.min()), float(finite.max())
    return (a, b) if a < b else (a, a + max(1.0, abs(a)))
