"""Compute finite differences of images (z) y x, their adjoint, and where they cross the border of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def differences(x: Tensor) -> Tensor:
    """Return the forward differences D x: one component per axis first, then (z) y x."""
    out = torch.zeros((x.ndim, *x.shape), dtype=x.dtype, device=x.device)
    for axis in range(x.ndim):
        difference(x, axis, out[axis])
    return out


def difference(x: Tensor, axis: int, out: Tensor) -> Tensor:
    """Return ``out`` with the forward differences of x along an axis; its far end is left as it is."""
    n = x.shape[axis]
    torch.sub(x.narrow(axis, 1, n - 1), x.narrow(axis, 0, n - 1), out=out.narrow(axis, 0, n - 1))
    return out


def differences_adjoint(p: Tensor, scales: Sequence[float] | None = None) -> Tensor:
    """Return D* p, (z) y x: <D x, p> = <x, D* p>. The far end of each component along its axis is ignored.

    ``scales``: factors of the components; None: 1.
    """
    out = torch.zeros_like(p[0])
    for axis, scale in enumerate(scales or (1.0,) * out.ndim):
        add_adjoint(p[axis], axis, out, scale)
    return out


def add_adjoint(p: Tensor, axis: int, out: Tensor, scale: float = 1.0) -> None:
    """Add scale D* p to ``out``, D the difference along one axis; the far end of p is ignored."""
    n = p.shape[axis]
    inner = p.narrow(axis, 0, n - 1)
    out.narrow(axis, 0, n - 1).sub_(inner, alpha=scale)
    out.narrow(axis, 1, n - 1).add_(inner, alpha=scale)


def box_of(known: Tensor) -> tuple[slice, ...]:
    """Return the smallest box that contains all known pixels, empty without any; synchronises the device, once."""
    axes = range(known.ndim)
    seen = torch.cat([known.sum([a for a in axes if a != axis]) > 0 for axis in axes]).cpu()
    inside = [torch.nonzero(along)[:, 0].tolist() for along in torch.split(seen, list(known.shape))]
    return tuple(slice(places[0], places[-1] + 1) if places else slice(0, 0) for places in inside)


def is_whole(box: tuple[slice, ...], shape: Sequence[int]) -> bool:
    """Return whether a box is all of an image."""
    return all(inside == slice(0, n) for inside, n in zip(box, shape, strict=True))


def across(box: tuple[slice, ...], shape: tuple[int, ...]) -> list[tuple[int | slice, ...]]:
    """Return where D x crosses the border of a box: for each axis an index of D x, for both ends at once."""
    found: list[tuple[int | slice, ...]] = []
    for axis, inside in enumerate(box):
        ends = [
            i for i in (inside.start - 1, inside.stop - 1) if 0 <= i < shape[axis] - 1 and inside.stop > inside.start
        ]
        if ends:
            step = max(1, ends[-1] - ends[0])
            found.append((axis, *(slice(None),) * axis, slice(ends[0], ends[-1] + 1, step)))
    return found
