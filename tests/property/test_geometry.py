"""Properties of the tile grid and the block grid, for random shapes, tiles, halos and regions, in 2D and 3D."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.geometry import Block, Box, Tile, TilePlan, Volume, estimate_cost, make_plan
from ssi_pipeline.needs import output_sizes, required_halo, tile_needs, tiling_request

MOST_PAIRS = 20_000
"""Largest number of pairs of tiles and blocks for an exhaustive test."""


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def axes(draw: st.DrawFn) -> dict[str, int]:
    """One tiled axis: extent, core, ..., and how far the image reaches beyond the region on either side."""
    n = draw(st.integers(1, 14), label="n")
    core = draw(st.integers(1, 9), label="core")
    return {
        "n": n,
        "before": draw(st.integers(0, 5)),
        "after": draw(st.integers(0, 5)),
        "core": core,
        "shard": draw(st.sampled_from(divisors(core))),
        "blend": draw(st.integers(0, core // 2)) if n > core else 0,
        "halo": draw(st.integers(0, 12)),
        "pad": draw(st.integers(0, 4)),
        "stride": draw(st.sampled_from([1, 2, 4])),
    }


def flat_axis(n: int) -> dict[str, int]:
    """The z axis of 2D tiles: each plane is independent."""
    return {"n": n, "before": 1, "after": 2, "core": 1, "shard": 1, "blend": 0, "halo": 0, "pad": 0, "stride": 1}


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    dimensions = draw(st.sampled_from([2, 3]))
    z = draw(axes()) if dimensions == 3 else flat_axis(draw(st.integers(1, 4)))
    zyx = [z, draw(axes()), draw(axes())]
    t, c = draw(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]))

    def column(key: str) -> tuple[int, ...]:
        return tuple(axis[key] for axis in zyx)

    bounds = Box(tuple(-axis["before"] for axis in zyx), tuple(axis["n"] + axis["after"] for axis in zyx))
    plan = TilePlan(
        dimensions=dimensions,
        shape=(t, c, *column("n")),  # type: ignore[arg-type]
        bounds=bounds,
        core=column("core"),
        blend=column("blend"),
        halo=column("halo"),
        pad=column("pad"),
        stride=column("stride"),
        shard=column("shard"),
        chunk=column("shard"),
    )
    assume(plan.n_tiles * plan.n_blocks <= MOST_PAIRS)
    return plan


def tiles_of(plan: TilePlan) -> list[Tile]:
    return [plan.tile(i) for i in range(plan.n_tiles)]


def blocks_of(plan: TilePlan) -> list[Block]:
    return [plan.block(i) for i in range(plan.n_blocks)]


def visits(plan: TilePlan, boxes: list[tuple[int, int, Box]]) -> np.ndarray:
    """Return how many boxes contain each voxel of the output (t c z y x)."""
    count = np.zeros(plan.shape, dtype=int)
    for t, c, box in boxes:
        assert Box((0, 0, 0), plan.extent).contains(box)
        count[(t, c, *box.slices)] += 1
    return count


@given(plans())
def test_cores_partition_the_volume(plan: TilePlan) -> None:
    assert (visits(plan, [(tile.t, tile.c, tile.core) for tile in tiles_of(plan)]) == 1).all()


@given(plans())
def test_every_voxel_is_written_by_exactly_one_block(plan: TilePlan) -> None:
    assert (visits(plan, [(block.t, block.c, block.write) for block in blocks_of(plan)]) == 1).all()


@given(plans())
def test_no_block_crosses_a_shard(plan: TilePlan) -> None:
    """Shards start at the origin of the output: two blocks in one shard would write one file."""
    shards = []
    for block in blocks_of(plan):
        first = tuple(a // s for a, s in zip(block.write.start, plan.shard, strict=True))
        last = tuple((b - 1) // s for b, s in zip(block.write.stop, plan.shard, strict=True))
        assert first == last
        shards.append((block.t, block.c, first))
    assert len(set(shards)) == len(shards)


@given(plans())
def test_contributors_are_exactly_the_tiles_whose_valid_box_meets_the_block(plan: TilePlan) -> None:
    tiles = tiles_of(plan)
    for block in blocks_of(plan):
        meeting = {
            tile.index
            for tile in tiles
            if (tile.t, tile.c) == (block.t, block.c) and tile.valid.intersect(block.write).size
        }
        assert set(block.tiles) == meeting
        assert len(block.tiles) == len(meeting)
        assert sum(tiles[i].core.intersect(block.write).size for i in block.tiles) == block.write.size


@given(plans())
def test_blocks_of_a_tile_mirror_tiles_of_a_block(plan: TilePlan) -> None:
    from_blocks = sorted((i, block.index) for block in blocks_of(plan) for i in block.tiles)
    from_tiles = sorted((tile.index, b) for tile in tiles_of(plan) for b in plan.blocks_of(tile))
    assert from_tiles == from_blocks


@given(plans())
def test_boxes_of_a_tile_are_nested(plan: TilePlan) -> None:
    for tile in tiles_of(plan):
        assert tile.core.size > 0
        assert tile.valid.contains(tile.core)
        assert tile.domain.contains(tile.valid)
        assert plan.frame.contains(tile.domain)
        assert tile.read == tile.domain.intersect(plan.bounds)
        assert tile.read.contains(tile.valid)
        assert tile.valid == tile.core.grow(plan.blend).intersect(Box((0, 0, 0), plan.extent))


@given(plans())
def test_domains_start_and_stop_on_the_stride(plan: TilePlan) -> None:
    for tile in tiles_of(plan):
        assert tile.domain == tile.domain.align_out(plan.stride)


@given(plans())
def test_the_halo_is_there_wherever_the_frame_permits(plan: TilePlan) -> None:
    for tile in tiles_of(plan):
        assert tile.domain.contains(tile.valid.grow(plan.halo).intersect(plan.frame))


@given(plans())
def test_no_domain_or_valid_box_is_larger_than_announced(plan: TilePlan) -> None:
    for tile in tiles_of(plan):
        assert all(a <= b for a, b in zip(tile.domain.shape, plan.domain_shape, strict=True))
        assert all(a <= b for a, b in zip(tile.valid.shape, plan.valid_shape, strict=True))


@given(plans())
def test_tiles_at_the_rim_of_the_frame_are_as_large_as_announced(plan: TilePlan) -> None:
    """A tile that the rim cuts grows inwards, so that all rim tiles train on one shape."""
    for tile in tiles_of(plan):
        wanted = tile.valid.grow(plan.halo)
        for axis in range(3):
            cut = wanted.start[axis] < plan.frame.start[axis] or wanted.stop[axis] > plan.frame.stop[axis]
            assert not cut or tile.domain.shape[axis] == plan.domain_shape[axis]


@given(plans())
def test_indices_count_in_the_order_tczyx(plan: TilePlan) -> None:
    places = [(tile.t, tile.c, *tile.core.start) for tile in tiles_of(plan)]
    assert places == sorted(set(places))
    assert [tile.index for tile in tiles_of(plan)] == list(range(math.prod(plan.tile_grid)))
    places = [(block.t, block.c, *block.write.start) for block in blocks_of(plan)]
    assert places == sorted(set(places))
    assert [block.index for block in blocks_of(plan)] == list(range(math.prod(plan.block_grid)))


@given(plans(), st.integers(0, 5))
def test_indices_outside_the_grid_are_refused(plan: TilePlan, beyond: int) -> None:
    for index in (-1 - beyond, plan.n_tiles + beyond):
        with pytest.raises(IndexError, match=str(index)):
            plan.tile(index)
    with pytest.raises(IndexError):
        plan.block(plan.n_blocks + beyond)


@given(plans())
def test_direct_exactly_when_each_block_has_one_tile(plan: TilePlan) -> None:
    assert plan.direct == all(len(block.tiles) == 1 for block in blocks_of(plan))


def run_config(**sections: object) -> RunConfig:
    document = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "gaussian", "fwhm_px": {"z": 2, "y": 2, "x": 2}},
        "network": {"levels": 1},
        **sections,
    }
    return parse_config(document)


def volume_of(plan: TilePlan, dtype: str) -> Volume:
    return Volume("tczyx", (*plan.shape[:2], *plan.bounds.shape), dtype)  # type: ignore[arg-type]


@given(plans(), st.sampled_from(["uint8", "uint16", "float32"]), st.sampled_from(["input", "float32"]))
def test_bytes_equal_the_sums_over_all_tiles_and_blocks(plan: TilePlan, dtype: str, out: str) -> None:
    volume, config = volume_of(plan, dtype), run_config(output={"path": "o", "dtype": out})
    cost = estimate_cost(plan, volume, output_sizes(config, volume), tile_needs(config, (0, 1, 1)), window=4)
    out_itemsize = volume.itemsize if out == "input" else 4
    assert cost.bytes_read == sum(tile.read.size for tile in tiles_of(plan)) * volume.itemsize
    assert cost.bytes_written == sum(block.write.size for block in blocks_of(plan)) * out_itemsize
    assert cost.read_amplification == pytest.approx(cost.bytes_read / (math.prod(plan.shape) * volume.itemsize))
    scratch = 0 if plan.direct else sum(tile.valid.size for tile in tiles_of(plan)) * 4
    assert scratch <= cost.bytes_scratch_written <= plan.n_tiles * math.prod(plan.valid_shape) * 4


def most_tiles_held(plan: TilePlan) -> int:
    """Solve tiles in order, stitch each block as soon as it can be, drop a tile with its last block."""
    waiting = {block.index: set(block.tiles) for block in blocks_of(plan)}
    users = {tile.index: set(plan.blocks_of(tile)) for tile in tiles_of(plan)}
    held: set[int] = set()
    most = 0
    for tile in tiles_of(plan):
        held.add(tile.index)
        most = max(most, len(held))
        for block in plan.blocks_of(tile):
            waiting[block].discard(tile.index)
            if not waiting[block]:
                for contributor in plan.block(block).tiles:
                    users[contributor].discard(block)
        held -= {i for i in held if not users[i]}
    return most


@given(plans())
def test_scratch_front_is_an_upper_bound_and_not_a_loose_one(plan: TilePlan) -> None:
    volume, needs = volume_of(plan, "uint16"), tile_needs(run_config(), (0, 1, 1))
    cost = estimate_cost(plan, volume, output_sizes(run_config(), volume), needs, window=0)
    tile_bytes = math.prod(plan.valid_shape) * 4
    if plan.direct:
        assert cost.bytes_scratch_peak == 0
        return
    held = most_tiles_held(plan)
    assert held * tile_bytes <= cost.bytes_scratch_peak <= 2 * held * tile_bytes


@st.composite
def requests(draw: st.DrawFn) -> tuple[Volume, RunConfig, tuple[int, int, int]]:
    """A volume, a region inside it and a tiling, as a user may ask for them."""
    dimensions = draw(st.sampled_from([2, 3]))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *(draw(st.integers(7, 60)) for _ in "zyx"))
    roi = {}
    for axis, n in zip("tczyx", shape, strict=True):
        if draw(st.booleans()):
            start = draw(st.integers(0, n - 1))
            roi[axis] = [start, draw(st.integers(start + 1, n))]
    core = draw(st.none() | st.integers(4, 40))
    tiling: dict[str, object] = {"dimensions": dimensions, "core": core}
    if core is not None:
        tiling["blend"] = draw(st.none() | st.integers(0, core // 2))
    if dimensions == 2 and core is not None and tiling["blend"] is not None:
        tiling["blend"] = {"y": tiling["blend"], "x": tiling["blend"]}
    network = draw(st.sampled_from([{"levels": 1}, {"levels": 2}]))
    solver = draw(st.sampled_from(["ssi", "wiener", "identity"]))
    training = {"scope": draw(st.sampled_from(["per_tile", "shared"]))}
    config = run_config(
        input={"path": "i", "roi": roi}, tiling=tiling, network=network, solver=solver, training=training
    )
    psf_radius = tuple(draw(st.integers(0, 3)) for _ in "zyx")
    return Volume("tczyx", shape, "uint16"), config, psf_radius  # type: ignore[return-value, arg-type]


@pytest.mark.parametrize(
    ("scope", "select", "blended"),
    [
        ("per_tile", "network", True),
        ("shared", "best", True),
        ("shared", "network", False),
        ("fine_tune", "best", True),
    ],
)
def test_tiles_are_blended_unless_one_function_gives_them_all(scope: str, select: str, blended: bool) -> None:
    config = run_config(solver="ssi", training={"scope": scope, "select": select})
    plan = make_plan(Volume("tczyx", (1, 1, 1, 900, 900), "uint16"), tiling_request(config, (0, 2, 2)), 2**30)
    assert (any(plan.blend), plan.direct) == (blended, not blended)


@given(requests())
def test_made_plans_keep_what_writing_safely_needs(request_: tuple[Volume, RunConfig, tuple[int, int, int]]) -> None:
    volume, config, psf_radius = request_
    plan = make_plan(volume, tiling_request(config, psf_radius), worker_memory=8 * 2**30)
    region = [config.input.roi.get(axis, (0, n)) for axis, n in zip("tczyx", volume.shape, strict=True)]  # type: ignore[call-overload]
    assert plan.shape == tuple(stop - start for start, stop in region)
    in_the_image = plan.bounds.shift(tuple(start for start, _ in region[2:]))
    assert in_the_image == Box((0, 0, 0), volume.shape[2:])
    for core, shard, chunk, blend in zip(plan.core, plan.shard, plan.chunk, plan.blend, strict=True):
        assert core % shard == 0
        assert shard % chunk == 0
        assert 2 * blend <= core
    needed = required_halo(config, psf_radius)
    assert all(h >= n for h, n in zip(plan.halo, needed, strict=True))
    for tile in itertools.islice(tiles_of(plan), 50):
        assert plan.bounds.contains(tile.read)
        assert tile.domain.contains(tile.valid.grow(plan.halo).intersect(plan.frame))
        if plan.dimensions == 2:
            assert tile.domain.shape[0] == 1


@given(st.integers(3, 4000), st.sampled_from([2, 3]))
def test_the_automatic_core_leaves_no_sliver(n: int, dimensions: int) -> None:
    """The last tile along an axis is short of a full one by less than a step (64 or 16) for each tile."""
    volume = Volume("zyx", (1, 1, 7, n, 40), "uint16")
    config = run_config(tiling={"dimensions": dimensions}, solver="wiener")
    plan = make_plan(volume, tiling_request(config, (1, 1, 1)), worker_memory=32 * 2**30)
    step = 64 if dimensions == 2 else 16
    tiles, core = plan.tile_grid[3], plan.core[1]
    assert tiles * core - n < step * tiles


def boxes() -> st.SearchStrategy[Box]:
    corner = st.tuples(*[st.integers(-9, 9)] * 3)
    return st.builds(
        lambda a, s: Box(a, tuple(i + j for i, j in zip(a, s, strict=True))),
        corner,
        st.tuples(*[st.integers(0, 9)] * 3),
    )


@given(boxes(), boxes(), st.tuples(*[st.integers(1, 5)] * 3))
def test_boxes_behave_like_sets_of_positions(a: Box, b: Box, step: tuple[int, int, int]) -> None:
    def positions(box: Box) -> set[tuple[int, ...]]:
        return set(itertools.product(*(range(i, j) for i, j in zip(box.start, box.stop, strict=True))))

    assert a.size == len(positions(a))
    assert positions(a.intersect(b)) == positions(a) & positions(b)
    assert a.relative_to(a.start).shift(a.start) == a
    aligned = a.align_out(step)
    assert aligned.contains(a)
    assert aligned.align_out(step) == aligned
    assert all(0 <= i - j < s for i, j, s in zip(a.start, aligned.start, step, strict=True))
    assert all(0 <= j - i < s for i, j, s in zip(a.stop, aligned.stop, step, strict=True))
