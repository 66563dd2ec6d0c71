"""Random scenes of geometric primitives in 0 ... 1 (y x), from which the start of the network is learnt.

Overlapping shapes ("dead leaves", whose statistics of edges are those of natural images: Achddou, Gousseau and Ladjal
2021), fibres, walls of cells, blobs, spots, strokes and gratings, and random fields; alone or two together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

Floats = NDArray[np.float64]
Rng = np.random.Generator


def field(rng: Rng, n: int, beta: float) -> Floats:
    """Return a Gaussian random field, n x n, of zero mean and unit deviation: amplitudes fall as f^-(beta + 1) / 2."""
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    f[0, 0] = 1
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * f ** (-beta / 2 - 0.5), s=(n, n))
    values -= values.mean()
    return np.asarray(values / values.std())


def _palette(rng: Rng) -> Callable[[], float]:
    """Return a source of grey levels: uniform, of two levels, of a few, or mostly dark or bright."""
    kind = rng.integers(4)
    if kind == 0:
        return lambda: rng.uniform()
    if kind == 1:
        low, high = sorted(rng.uniform(0, 1, 2))
        return lambda: (low if rng.uniform() < 0.5 else high) + 0.05 * rng.standard_normal()
    if kind == 2:
        levels = rng.uniform(0, 1, rng.integers(2, 6))
        return lambda: rng.choice(levels) + 0.03 * rng.standard_normal()
    power = rng.uniform(0.5, 3)
    return lambda: rng.uniform() ** power


def _box(n: int, *spans: tuple[int, int]) -> tuple[slice, slice] | None:
    """Return the part of the image between limits along y and x; None where it is empty."""
    (y0, y1), (x0, x1) = ((max(0, a), min(n, b)) for a, b in spans)
    return None if y1 <= y0 or x1 <= x0 else (slice(y0, y1), slice(x0, x1))


def _turned(box: tuple[slice, slice], cy: float, cx: float, angle: float) -> tuple[Floats, Floats]:
    """Return the coordinates of a box along the axes of a turned shape."""
    y, x = np.mgrid[box]
    c, s = np.cos(angle), np.sin(angle)
    return (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s


def leaves(rng: Rng, n: int) -> Floats:
    """Return shapes that cover each other: ellipses, rectangles and polygons, some with a texture or a shading."""
    image = field(rng, n, rng.uniform(1, 2.5)) * 0.1 + rng.uniform()
    least, most, level = rng.uniform(1, 5), rng.uniform(20, 120), _palette(rng)
    texture, shapes = field(rng, n, rng.uniform(0.3, 2)), rng.integers(1, 4)
    textured, height, soft = rng.uniform(0, 0.5), rng.uniform(0.02, 0.25), rng.uniform(0.4, 1.2)
    for _ in range(int(rng.uniform(200, 2200))):
        u = rng.uniform()
        r = (least**-2 + u * (most**-2 - least**-2)) ** -0.5
        cy, cx = rng.uniform(-r, n + r, 2)
        box = _box(n, *((int(c - 1.5 * r - 2), int(c + 1.5 * r + 3)) for c in (cy, cx)))
        if box is None:
            continue
        a, b = _turned(box, cy, cx, rng.uniform(0, np.pi))
        inside = np.clip(_depth(rng, a, b, r, shapes) / soft + 0.5, 0, 1)
        value: float | Floats = level()
        if rng.uniform() < textured:
            if rng.uniform() < 0.6:
                value = value + height * texture[box]
            else:
                value = value + height * 2 * np.sign(np.sin(a * rng.uniform(0.25, 2))) * rng.uniform(0.3, 1)
        elif rng.uniform() < 0.3:
            value = value + rng.uniform(-0.3, 0.3) * a / r
        image[box] += inside * (value - image[box])
    return image


def _depth(rng: Rng, a: Floats, b: Floats, r: float, shapes: int) -> Floats:
    """Return the distance from the edge of a shape of radius r, positive inside."""
    q = rng.uniform(0.3, 1)
    kind = rng.integers(shapes)
    if kind == 0:
        return np.asarray(r * (1 - np.hypot(a / r, b / (q * r))) * q)
    if kind == 1:
        return np.minimum(r - abs(a), q * r - abs(b))
    corners = rng.integers(3, 7)
    angle = np.arctan2(b, a) % (2 * np.pi / corners) - np.pi / corners
    return np.asarray(0.8 * r - np.hypot(a, b) * np.cos(angle))


def fibres(rng: Rng, n: int) -> Floats:
    """Return curved fibres of several widths: random walks whose direction turns slowly."""
    image = np.zeros((n, n))
    for _ in range(rng.integers(1, 4)):
        count, steps = int(rng.uniform(4, 60)), int(rng.uniform(100, 1200))
        turns = ndimage.gaussian_filter1d(rng.standard_normal((count, steps)), rng.uniform(3, 60), axis=1)
        angles = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(turns / turns.std() * rng.uniform(0, 0.05), axis=1)
        y, x = (rng.uniform(0, n, (count, 1)) + np.cumsum(f(angles) / 2, axis=1) for f in (np.sin, np.cos))
        light = np.broadcast_to(rng.uniform(0.3, 1, (count, 1)), y.shape)
        drawn = np.histogram2d(y.ravel(), x.ravel(), [np.arange(n + 1)] * 2, weights=light.ravel())[0]
        width = rng.uniform(0.5, 2.5)
        drawn = ndimage.gaussian_filter(drawn, width) * width
        if rng.uniform() < 0.5 and (drawn > 1e-3).any():
            drawn = np.clip(drawn / np.percentile(drawn[drawn > 1e-3], rng.uniform(30, 90)), 0, 1)
        image = np.maximum(image, drawn / max(drawn.max(), 1e-6) * rng.uniform(0.4, 1))
    return image


def walls(rng: Rng, n: int) -> Floats:
    """Return the walls of irregular cells: borders of a Voronoi tessellation of a bent plane."""
    seeds = rng.uniform(-20, n + 20, (int(n * n / rng.uniform(60, 2500)), 2))
    bent = 0.7 * np.stack([field(rng, n, 2).ravel(), field(rng, n, 2).ravel()], 1) * rng.uniform(0, 3)
    distances, _ = spatial.cKDTree(seeds).query(np.indices((n, n)).reshape(2, -1).T + bent, 3)
    edge, width = (distances[:, 1] - distances[:, 0]).reshape(n, n), rng.uniform(0.8, 4)
    image = np.exp(-((edge / width) ** 2) / 2) if rng.uniform() < 0.5 else np.clip(1.5 - edge / width, 0, 1)
    return np.asarray(image * (1 + rng.uniform(0, 0.4) * field(rng, n, 1.5)) + rng.uniform(0, 0.3) * field(rng, n, 2))


def blobs(rng: Rng, n: int) -> Floats:
    """Return nuclei: wobbly ellipses with sharp or soft edges and a texture."""
    image = np.zeros((n, n))
    grain = 1 + rng.uniform(0, 0.4) * field(rng, n, rng.uniform(0.5, 2))
    radius = 10 ** rng.uniform(0.4, 1.5)
    edge = rng.uniform(0.5, 6)
    for _ in range(int(np.clip(n * n / (radius * radius * rng.uniform(4, 40)), 1, 800))):
        cy, cx = rng.uniform(-radius, n + radius, 2)
        ra, rb = radius * rng.uniform(0.6, 1.4, 2)
        reach = int(1.5 * max(ra, rb) + 8)
        box = _box(n, *((int(c) - reach, int(c) + reach) for c in (cy, cx)))
        if box is None:
            continue
        angle = rng.uniform(0, np.pi)
        a, b = _turned(box, cy, cx, angle)
        wobble = 1 + 0.1 * np.sin(3 * np.arctan2(b, a) + angle) * rng.uniform()
        depth = (1 - np.hypot(a / ra, b / rb) / wobble) * min(ra, rb) / edge
        image[box] = np.maximum(image[box], rng.uniform(0.25, 1) * np.clip(depth + 0.5, 0, 1))
    return np.asarray(image * grain)


def spots(rng: Rng, n: int) -> Floats:
    """Return beads: 10 to 1000 small spots of one width."""
    image, count = np.zeros((n, n)), int(10 ** rng.uniform(1, 3))
    places = rng.integers(0, n, (2, count))
    np.add.at(image, tuple(places), rng.uniform(0.1, 1, count))
    image = ndimage.gaussian_filter(image, rng.uniform(0.5, 2.5))
    return np.asarray(image / max(image.max(), 1e-6))


def strokes(rng: Rng, n: int) -> Floats:
    """Return a page of cells with glyphs of strokes and circles, with gratings, or with rectangles."""
    image = np.full((n, n), rng.uniform(0, 0.3))
    ink, cell = rng.uniform(0.6, 1), int(rng.uniform(8, 60))
    thick = rng.uniform(1, max(1.5, cell / 5))
    draw = (_glyph, _grating, _rectangle)[rng.integers(3)]
    for cy in range(0, n, cell):
        for cx in range(0, n, cell):
            if rng.uniform() < 0.2:
                continue
            box = slice(cy, min(n, cy + cell)), slice(cx, min(n, cx + cell))
            y, x = np.mgrid[box]
            image[box] += draw(rng, y - cy, x - cx, cell, thick) * (ink - image[box])
    if rng.uniform() < 0.3:
        image = ndimage.rotate(image, rng.uniform(0, 90), reshape=False, order=1, mode="reflect")
    return np.asarray(ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8)))


def _glyph(rng: Rng, y: Floats, x: Floats, cell: int, thick: float) -> Floats:
    distance = np.full(y.shape, 1e3)
    for _ in range(rng.integers(1, 5)):
        p, q = rng.uniform(0.1, 0.9, (2, 2)) * cell
        if rng.uniform() < 0.6:
            q[rng.integers(2)] = p[rng.integers(2)] if rng.uniform() < 0.2 else q[0]
        if rng.uniform() < 0.5:
            q[0] = p[0]
        elif rng.uniform() < 0.5:
            q[1] = p[1]
        v = q - p
        along = np.clip(((y - p[0]) * v[0] + (x - p[1]) * v[1]) / ((v @ v) + 1e-9), 0, 1)
        distance = np.minimum(distance, np.hypot(y - p[0] - along * v[0], x - p[1] - along * v[1]))
    for _ in range(rng.integers(0, 2)):
        c = rng.uniform(0.3, 0.7, 2) * cell
        r = rng.uniform(0.1, 0.4) * cell
        distance = np.minimum(distance, abs(np.hypot(y - c[0], (x - c[1]) * rng.uniform(0.8, 1.5)) - r))
    return np.clip(thick / 2 - distance + 0.5, 0, 1)


def _grating(rng: Rng, y: Floats, x: Floats, cell: int, _: float) -> Floats:
    period = rng.uniform(2.5, 16)
    along = y if rng.uniform() < 0.5 else x
    inside = (y > 1) & (x > 1) & (y < cell - 2) & (x < cell - 2)
    return np.asarray(np.clip(np.sin(2 * np.pi * along / period) * period / 3 + 0.5, 0, 1) * inside)


def _rectangle(rng: Rng, y: Floats, x: Floats, cell: int, _: float) -> Floats:
    height, width = rng.uniform(0.2, 0.9, 2) * cell
    return ((y < height) & (x < width)).astype(float)


def _clouds(rng: Rng, n: int) -> Floats:
    return field(rng, n, rng.uniform(1, 3))


_KINDS = (leaves, leaves, leaves, fibres, walls, blobs, spots, strokes, _clouds)


def _unit(image: Floats) -> Floats:
    """Stretch an image to 0 ... 1, but for one pixel in a thousand on either side."""
    low, high = np.percentile(image, [0.1, 99.9])
    return np.asarray(np.clip((image - low) / max(high - low, 1e-6), 0, 1))


def scene(rng: Rng, n: int, smooth: float) -> Floats:
    """Return a scene, n x n, in 0 ... 1; ``smooth``: share of those far out of focus."""
    image = _unit(_KINDS[rng.integers(len(_KINDS))](rng, n))
    if rng.uniform() < 0.45:
        other = _unit(_KINDS[rng.integers(len(_KINDS))](rng, n))
        way, share = rng.integers(3), rng.uniform(0.1, 0.9)
        if way == 0:
            image = (1 - share) * image + share * other
        else:
            image = np.maximum(image, share * other) if way == 1 else image * (1 - share + share * other)
    if rng.uniform() < 0.3:
        image = image * np.clip(1 + 0.4 * field(rng, n, 3), 0.1, None)
    if rng.uniform() < 0.25:
        image = 1 - _unit(image)
    image = _unit(image) ** np.exp(rng.uniform(-0.7, 0.9))
    if rng.uniform() < 0.3:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.5))
    elif smooth and rng.uniform() < smooth:
        image = _unit(ndimage.gaussian_filter(image, np.exp(rng.uniform(np.log(1.5), np.log(8)))))
    return np.clip(image, 0, 1)
