"""Tiled and blended results equal the whole, for every linear shift-invariant filter that the halo covers."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.config import OutputConfig
from ssi_pipeline.geometry import Box, TilePlan, Volume
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.geometry.pyramid import plan_pyramid
from ssi_pipeline.stitch import _weight, blend_block
from ssi_pipeline.storage.outputs.output import create_output
from ssi_pipeline.storage.outputs.sink import Sink

FEW = settings(max_examples=40)


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    """Draw plans of every shape: cores that do not divide the volume, several shards a core, blends up to half."""
    dimensions = draw(st.sampled_from([2, 3]))
    chunk, shard, core, blend, halo, extent, stride = [], [], [], [], [], [], []
    for axis in range(3):
        flat = axis == 0 and dimensions == 2
        c = draw(st.integers(1, 3))
        s = c * draw(st.integers(1, 3))
        k = 1 if flat else s * draw(st.integers(1, 3))
        chunk.append(1 if flat else c)
        shard.append(1 if flat else s)
        core.append(k)
        radius = 0 if flat else draw(st.integers(0, 3))
        n = draw(st.integers(1, 3)) if flat else draw(st.integers(radius + 1, 3 * k + 4 + radius))
        extent.append(n)
        blend.append(draw(st.integers(0, k // 2)) if n > k and not flat else 0)
        halo.append(radius)
        stride.append(1 if flat else draw(st.sampled_from([1, 2])))
    bounds = Box((0, 0, 0), tuple(extent))
    # the frame is the volume, padded by the halo and aligned: reflection needs more pixels than it adds
    pad = tuple(min(h, max(0, n - 2)) for h, n in zip(halo, extent, strict=True))
    stride = [s if n - 1 >= p + s else 1 for s, n, p in zip(stride, extent, pad, strict=True)]
    return TilePlan(
        dimensions=dimensions,
        shape=(1, 1, *extent),
        bounds=bounds,
        core=tuple(core),
        blend=tuple(blend),
        halo=tuple(halo),
        pad=pad,
        stride=tuple(stride),
        shard=tuple(shard),
        chunk=tuple(chunk),
    )


def fill(volume: NDArray[np.float32], domain: Box, bounds: Box) -> NDArray[np.float32]:
    """Read a domain as tasks/pixels.py does: padded by reflection outside the image."""
    inside = domain.intersect(bounds)
    width = [(i - d, e - s) for d, i, s, e in zip(domain.start, inside.start, inside.stop, domain.stop, strict=True)]
    return np.pad(volume[inside.relative_to(bounds.start).slices], width, mode="reflect")


def stitched(plan: TilePlan, estimates: dict[int, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Blend all blocks from estimates on the tiles' valid boxes."""
    out = np.full(plan.extent, np.nan)
    for index in range(plan.n_blocks):
        block = plan.block(index)
        parts = []
        for tile in map(plan.tile, block.tiles):
            inside = tile.valid.intersect(block.write).relative_to(tile.valid.start)
            parts.append((tile, estimates[tile.index][inside.slices]))
        out[block.write.slices] = blend_block(block.write, parts, plan.blend)[0]
    return out


def per_tile(plan: TilePlan, function: Any) -> dict[int, NDArray[np.float32]]:
    """Apply a function of the domain in every tile; keep the valid box."""
    estimates = {}
    for index in range(plan.n_tiles):
        tile = plan.tile(index)
        estimates[index] = function(tile)[tile.valid.relative_to(tile.domain.start).slices]
    return estimates


def random_kernel(halo: Ints, seed: int) -> NDArray[np.float32]:
    kernel = np.random.default_rng(seed).normal(size=[2 * h + 1 for h in halo])
    return (kernel / np.abs(kernel).sum()).astype(np.float32)


@FEW
@given(plan=plans(), seed=st.integers(0, 2**16))
def test_a_filter_in_tiles_is_the_filter_on_the_whole(plan: TilePlan, seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.uniform(-1, 1, plan.extent).astype(np.float32)
    kernel = random_kernel(plan.halo, seed)

    def filtered(domain: Box) -> NDArray[np.float32]:
        # zero outside of what is read: only the halo's pixels, or those beyond the frame, see it
        return ndimage.convolve(fill(volume, domain, plan.bounds), kernel, mode="constant")

    whole = filtered(plan.frame)[plan.bounds.relative_to(plan.frame.start).slices]
    out = stitched(plan, per_tile(plan, lambda tile: filtered(tile.domain)))
    # |values| <= 1 and the weights of the kernel add up to 1: sums are in float64, each estimate is rounded to
    # float32 once, and a blend of two of them moves it no further
    assert np.abs(out - whole).max() <= 2 * np.finfo(np.float32).eps


@FEW
@given(plan=plans(), seed=st.integers(0, 2**16))
def test_equal_estimates_blend_to_themselves(plan: TilePlan, seed: int) -> None:
    volume = (np.random.default_rng(seed).normal(size=plan.extent) * 1e4).astype(np.float32)
    out = stitched(plan, per_tile(plan, lambda tile: fill(volume, tile.domain, plan.bounds)))
    np.testing.assert_array_equal(out.astype(np.float32), volume)


@FEW
@given(plan=plans())
def test_weights_are_positive_and_add_up_to_one(plan: TilePlan) -> None:
    total = np.zeros(plan.extent)
    for index in range(plan.n_tiles):
        tile = plan.tile(index)
        weight = _weight(tile, tile.valid, plan.blend)
        # the thinnest corner: half a pixel of each ramp
        assert weight.min() >= math.prod(0.5 / (2 * b) if b else 1.0 for b in plan.blend) * (1 - 1e-12)
        assert weight.max() <= 1
        total[tile.valid.slices] += weight
    np.testing.assert_allclose(total, 1, rtol=1e-12)


@FEW
@given(plan=plans(), seed=st.integers(0, 2**16))
def test_tiles_that_agree_have_no_seam(plan: TilePlan, seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=plan.extent).astype(np.float32)
    for index in range(plan.n_blocks):
        block = plan.block(index)
        tiles = [plan.tile(i) for i in block.tiles]
        parts = [(tile, volume[tile.valid.intersect(block.write).slices]) for tile in tiles]
        for seam in blend_block(block.write, parts, plan.blend)[1]:
            # a mean is taken out of weighted sums again: float64 rounding over the smallest weight
            assert math.sqrt(seam.squares / seam.voxels) <= 1e-11


def test_the_seam_of_a_constant_offset() -> None:
    """Two adjacent tiles with values that differ by 5: every common voxel differs by 5."""
    plan = TilePlan(
        dimensions=2,
        shape=(1, 1, 1, 6, 16),
        bounds=Box((0, 0, 0), (1, 6, 16)),
        core=(1, 6, 8),
        blend=(0, 0, 3),
        halo=(0, 0, 0),
        pad=(0, 0, 0),
        stride=(1, 1, 1),
        shard=(1, 6, 8),
        chunk=(1, 6, 8),
    )
    for index in range(2):
        block = plan.block(index)
        tiles = [plan.tile(i) for i in block.tiles]
        parts = [
            (tile, np.full(tile.valid.intersect(block.write).shape, value, np.float32))
            for tile, value in zip(tiles, (10, 15), strict=True)
        ]
        blended, seams = blend_block(block.write, parts, plan.blend)
        # 3 of the 6 overlapping columns are in each block, 6 rows
        assert [seam.voxels for seam in seams] == [18, 18]
        np.testing.assert_allclose([seam.squares for seam in seams], 18 * 25, rtol=1e-9)
        ramp = 10 + 5 * (np.arange(6) + 0.5) / 6
        expected = np.concatenate([np.full(5, 10), ramp, np.full(5, 15)])[8 * index : 8 * index + 8]
        np.testing.assert_allclose(blended[0], np.tile(expected, (6, 1)), rtol=1e-12)


@settings(max_examples=12)
@given(plan=plans(), version=st.sampled_from(["0.4", "0.5"]))
def test_every_voxel_is_written_once(plan: TilePlan, version: str) -> None:
    if version == "0.4":
        plan = dataclasses.replace(plan, shard=plan.chunk)
    assume(plan.n_blocks <= 60)  # all files are looked at after every write
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.zarr")
        volume = Volume("zyx", plan.shape, "uint16")
        section = OutputConfig(path=path, ome_zarr=version, pyramid=False)
        create_output(path, section, volume, "uint16", plan, plan_pyramid(plan, None, False), {}, {}, {})
        sink = Sink(path, "zyx", plan.shard, writable=True)
        written = np.zeros(plan.extent, int)
        touched: Counter[str] = Counter()
        for index in range(plan.n_blocks):
            block = plan.block(index)
            before = {p: p.stat().st_ino for p in (path / "0").rglob("*") if p.is_file()}
            sink.write(0, 0, 0, block.write, np.full(block.write.shape, index % 65521, np.uint16))
            after = {p: p.stat().st_ino for p in (path / "0").rglob("*") if p.is_file()}
            changed = [p for p in after if before.get(p) != after[p]]
            assert len(changed) == 1
            touched[str(changed[0])] += 1
            written[block.write.slices] += 1
        assert (written == 1).all()
        assert set(touched.values()) == {1}
        assert len(touched) == plan.n_blocks
