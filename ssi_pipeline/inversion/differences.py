"""Compute finite differences of images (z) y x, their adjoint, and where they cross the border of what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def differences(x: Tensor) -> Tensor:
    """Return the forward differences D x: one component per axis first, then (z) y x."""
    out = torch.zeros((x.ndim, *x.shape), dtype=x.dtype, device=x.device)
    for axis, n in enumerate(x.shape):
        torch.sub(x.narrow(axis, 1, n - 1), x.narrow(axis, 0, n - 1), out=out[axis].narrow(axis, 0, n - 1))
    return out


def differences_adjoint(p: Tensor, scales: Sequence[float] | None = None) -> Tensor:
    """Return D* p, (z) y x: <D x, p> = <x, D* p>. The far end of each component along its axis is ignored.

    ``scales``: factors of the components; None: 1.
    """
    out = torch.zeros_like(p[0])
    for axis, (n, scale) in enumerate(zip(out.shape, scales or (1.0,) * out.ndim, strict=True)):
        inner = p[axis].narrow(axis, 0, n - 1)
        out.narrow(axis, 0, n - 1).sub_(inner, alpha=scale)
        out.narrow(axis, 1, n - 1).add_(inner, alpha=scale)
    return out


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
