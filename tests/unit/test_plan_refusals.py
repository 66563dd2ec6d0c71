"""Impossible geometries are refused before a GPU is requested, with a message that says what would work."""

from __future__ import annotations

from typing import Any

import pytest

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import GeometryError
from ssi_pipeline.geometry import TilePlan, Volume, make_plan
from ssi_pipeline.needs import tile_needs, tiling_request

VOLUME = Volume("zyx", (1, 1, 20, 200, 300), "uint16")
GIB = 2**30


def config(**sections: Any) -> RunConfig:
    return parse_config(
        {
            "input": {"path": "in.zarr"},
            "output": {"path": "out.zarr"},
            "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
            **sections,
        }
    )


def plan(psf_radius: tuple[int, int, int] = (2, 2, 2), memory: int = 8 * GIB, **sections: Any) -> TilePlan:
    return make_plan(VOLUME, tiling_request(config(**sections), psf_radius), memory)


def refusal(psf_radius: tuple[int, int, int] = (2, 2, 2), memory: int = 8 * GIB, **sections: Any) -> str:
    with pytest.raises(GeometryError) as caught:
        plan(psf_radius, memory, **sections)
    return str(caught.value)


def test_a_region_beyond_the_image() -> None:
    message = refusal(input={"path": "i", "roi": {"y": [0, 201]}})
    assert message == "input.roi.y ends at 201, but the image has 200 along y"


def test_a_blend_of_more_than_half_the_core() -> None:
    message = refusal(tiling={"core": 64, "blend": 33})
    assert message == "tiling.blend is 33 along y: expected at most half of the core, 32"
    assert plan(tiling={"core": 64, "blend": 32}).blend == (0, 32, 32)


def test_a_shard_that_two_tiles_would_write() -> None:
    message = refusal(tiling={"core": 64}, output={"path": "o", "shard": {"y": 48, "x": 64}})
    assert "tiling.core is 64 along y, which is not a multiple of output.shard (48)" in message
    assert "Set tiling.core to 48 or 96, or output.shard to a divisor of 64" in message
    for core in (48, 96):
        done = plan(tiling={"core": {"y": core, "x": 64}}, output={"path": "o", "shard": {"y": 48, "x": 64}})
        assert done.core[1] == core


def test_a_chunk_that_does_not_divide_the_shard() -> None:
    message = refusal(tiling={"core": 64}, output={"path": "o", "chunk": {"y": 24, "x": 32}})
    assert "output.shard is 64 along y, which is not a multiple of output.chunk (24)" in message


def test_shards_in_a_format_that_has_none() -> None:
    message = refusal(output={"path": "o", "ome_zarr": "0.4", "shard": {"y": 64}})
    assert "output.shard needs ome_zarr '0.5'" in message
    assert "set chunk" in message
    done = plan(tiling={"core": 64}, output={"path": "o", "ome_zarr": "0.4", "chunk": {"y": 32, "x": 32}})
    assert done.shard == done.chunk == (1, 32, 32)


@pytest.mark.parametrize("solver", ["ssi_published", "ssi_published_unmasked"])
def test_an_image_that_the_poolings_of_the_published_network_leave_nothing_of(solver: str) -> None:
    enough, small = (Volume("yx", (1, 1, 1, 200, size), "uint16") for size in (32, 31))
    assert make_plan(enough, tiling_request(config(solver=solver), (0, 2, 2)), 8 * GIB).extent[2] == 32
    with pytest.raises(GeometryError) as caught:
        make_plan(small, tiling_request(config(solver=solver), (0, 2, 2)), 8 * GIB)
    assert str(caught.value) == "the image has 31 pixels along x, but the published network needs 32: use solver: ssi"
    # a small region of a large image is read with what surrounds it
    assert plan(solver=solver, input={"path": "i", "roi": {"x": [10, 41]}}).extent[2] == 31
    # 20 planes are fine plane by plane, and too few in 3D
    message = refusal(
        solver=solver, tiling={"dimensions": 3}, psf={"kind": "gaussian", "fwhm_px": {"z": 2, "y": 2, "x": 2}}
    )
    assert "20 pixels along z" in message


def test_a_psf_larger_than_the_image_makes_domains_that_exceed_the_image() -> None:
    for solver in ("wiener", "ssi"):
        section = {"kind": "gaussian", "fwhm_px": {"z": 9, "y": 2, "x": 2}}
        done = plan((24, 2, 150), memory=64 * GIB, solver=solver, psf=section, tiling={"dimensions": 3})
        assert done.pad == (24, 2, 150)
        assert done.tile(0).domain.shape[0] == 20 + 2 * 24


def test_the_default_patch_is_large_enough_for_the_psf_and_counted_as_memory() -> None:
    small, large = (tiling_request(config(), (0, r, r)).needs for r in (2, 42))
    assert large.patch is not None
    assert large.patch.shape == (1, 136, 136)  # 3 x 42 + 8, rounded up to the stride of 4
    assert large.worker_bytes((1, 200, 200)) > small.worker_bytes((1, 200, 200))
    assert plan((0, 42, 42)).pad == (0, 42, 42)


def test_the_depth_of_a_psf_does_not_matter_to_planes_and_its_size_not_to_copies() -> None:
    assert plan((500, 2, 2)).pad == (0, 2, 2)
    assert plan((2, 500, 500), solver="identity").pad == (0, 0, 0)


def test_a_tile_that_fits_no_worker() -> None:
    message = refusal(memory=GIB, tiling={"core": 200, "dimensions": 3})
    assert "GiB per worker, but there are 1.0 GiB" in message
    assert "lower tiling.core, use fewer workers, or raise executor.memory_gib" in message


def test_a_tile_that_fits_no_gpu() -> None:
    asked = tiling_request(config(tiling={"core": 200, "dimensions": 3}), (2, 2, 2))
    with pytest.raises(GeometryError, match=r"GiB of a GPU, but 1.0 GiB are free for each worker: lower tiling.core"):
        make_plan(VOLUME, asked, 64 * GIB, GIB)


LARGE = Volume("zyx", (1, 1, 900, 900, 900), "uint16")
CUBES = {"tiling": {"dimensions": 3}}


def test_the_memory_of_a_gpu_makes_the_tiles_where_it_is_known() -> None:
    asked = tiling_request(config(**CUBES), (2, 2, 2))
    cores = [make_plan(LARGE, asked, 1024 * GIB, free * GIB).core[1] for free in (3, 8, 80)]
    assert cores == sorted(set(cores))
    assert cores[-1] == make_plan(LARGE, asked, 1024 * GIB).core[1]
    # the worker of a GPU needs less of the host than one that computes there
    assert make_plan(LARGE, asked, 4 * GIB, 80 * GIB).core > make_plan(LARGE, asked, 4 * GIB).core


def test_a_plan_on_a_gpu_counts_host_and_device_apart() -> None:
    needs = tile_needs(config(**CUBES), (2, 2, 2))
    domain = (256, 160, 160)
    assert needs.host_bytes(domain) < needs.worker_bytes(domain)
    assert needs.host_bytes(domain) + needs.device_bytes(domain) > needs.worker_bytes(domain)
    twice = needs.device_bytes((256, 160, 320)) - needs.device_bytes(domain)
    assert twice == (needs.device_bytes_per_voxel + needs.patch.device_bytes_per_voxel) * 256 * 160 * 160  # type: ignore[union-attr]


def test_less_memory_makes_smaller_tiles() -> None:
    large = Volume("yx", (1, 1, 1, 4000, 4000), "uint16")
    cores = [
        make_plan(large, tiling_request(config(), (0, 2, 2)), int(memory * GIB)).core[1] for memory in (1.5, 4, 32)
    ]
    assert cores == sorted(cores)
    assert cores[0] < cores[-1]


def test_a_patch_smaller_than_the_psf_is_refused() -> None:
    volume = Volume("yx", (1, 1, 1, 400, 400), "uint16")
    with pytest.raises(
        GeometryError, match=r"the PSF spans 41 pixels along y, a training patch 32: increase training\.patch"
    ):
        make_plan(volume, tiling_request(config(training={"patch": 32}), (0, 20, 20)), 8 * GIB)
