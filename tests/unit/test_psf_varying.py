"""PSFs that vary over the image: by ranges of z, y and x, and by depth; interpolated at the place of each tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import beads, go, make_run

import ssi_pipeline as ssi
from ssi_pipeline.config import DepthByZ, RunConfig, load_config, parse_config
from ssi_pipeline.errors import ConfigError, GeometryError, InputError, RunChangedError
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.problem import build_problem, with_weight
from ssi_pipeline.physics.gibson_lanni import focus_um
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_by_depth import depth_at, refocused
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.physics.psf_set import PsfSet, read_saved
from ssi_pipeline.report.facts import read_facts
from ssi_pipeline.report.sections.psfs import psf_section
from ssi_pipeline.run.prepare import prepare

VOXEL = (1.0, 0.25, 0.25)
DRY = {
    "kind": "gibson_lanni",
    "numerical_aperture": 0.5,
    "wavelength_um": 0.52,
    "immersion_index": 1.0,
    "sample_index": 1.33,
}


def gaussian(fwhm: float) -> dict[str, Any]:
    return {"kind": "gaussian", "fwhm_px": {"y": fwhm, "x": fwhm}}


def config(psf: Any, **sections: Any) -> RunConfig:
    return parse_config({"input": {"path": "in"}, "output": {"path": "out"}, "psf": psf, **sections})


def two(first: tuple[int, int] = (0, 2), second: tuple[int, int] = (2, 4), axis: str = "z") -> dict[str, Any]:
    parts = [{axis: [*first], "psf": gaussian(2)}, {axis: [*second], "psf": gaussian(3)}]
    return {"kind": "varying", "by": parts}


def deep(**depth: float) -> dict[str, Any]:
    return {**DRY, "depth_um": depth}


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (two((1, 2)), "the ranges of z begin at 1: expected 0"),
        (two((0, 2), (3, 4)), "the ranges of z [0, 2] and [3, 4] leave a gap"),
        (two((0, 3), (2, 4)), "the ranges of z [0, 3] and [2, 4] overlap"),
        (two((0, 2), (2, 2)), "z is [2, 2]: expected start < stop"),
        (two((0, 2), (0, 2)), "two PSFs for z [0, 2]"),
        (
            {"kind": "varying", "by": [{"psf": gaussian(2)}, {"psf": gaussian(3)}]},
            "two PSFs for the whole image",
        ),
        (
            {"kind": "varying", "by": [{"z": [0, 2], "psf": gaussian(2)}, {"y": [0, 9], "psf": gaussian(3)}]},
            "some parts have a range of z, others none",
        ),
        (
            {
                "kind": "varying",
                "by": [
                    {"y": [0, 4], "x": [0, 4], "psf": gaussian(2)},
                    {"y": [4, 8], "x": [0, 4], "psf": gaussian(2)},
                    {"y": [0, 4], "x": [4, 8], "psf": gaussian(2)},
                ],
            },
            "no PSF for y [4, 8], x [4, 8]",
        ),
        (
            {"kind": "varying", "by": [{"z": [i, i + 1], "psf": deep(at_z0=1)} for i in (0, 1)]},
            "depth_um changes along z inside a part",
        ),
        (deep(per_um=0), "depth_um.per_um is 0, the depth does not change"),
    ],
)
def test_what_is_not_a_grid_of_psfs_is_refused_by_name(psf: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(psf)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "shared",
    [
        {"training": {"scope": "shared"}},
        {"training": {"scope": "fine_tune"}},
        {"training": {"start_from": "models"}},
    ],
)
def test_a_network_that_tiles_share_is_refused(shared: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a network that tiles share is an inverse of one PSF"):
        config(two(), **shared)
    assert config(two(), solver="tv_cg").psf[0].kind == "varying"


@pytest.mark.parametrize(("shape", "message"), [((5, 64, 64), "do not cover"), ((3, 64, 64), "exceed")])
def test_ranges_are_those_of_the_image(shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=f"the ranges of z end at 4 and {message} the image, which has {shape[0]}"):
        load_psf(config(two()).psf[0], None, 2, shape)


def test_the_problem_of_the_latest_psf_is_kept() -> None:
    psf = load_psf(config(two()).psf[0], None, 2, (4, 64, 64))
    problem = build_problem(psf, ChannelCalibration(0.0, 100.0, 1.0, 1.0, 0.0, 0.01, minimum=0.0), config(two()), "cpu")
    here = problem.at((1.5, 5.0, 5.0))
    assert problem.at((1.5, 60.0, 9.0)) is here  # another tile with the same PSF
    assert with_weight(problem, 0.1).at((1.5, 5.0, 5.0)).calibration.wiener_weight == 0.1
    other = problem.at((2.0, 5.0, 5.0))
    assert other.forward.digest != here.forward.digest
    again = problem.at((1.5, 5.0, 5.0))
    assert again is not here  # one is kept
    assert again.forward.digest == here.forward.digest


def test_measured_psfs_have_one_shape(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.npy" for n in (9, 11)]
    for path, n in zip(paths, (9, 11), strict=True):
        spot = np.zeros((n, n), np.float32)
        spot[n // 2 - 1 : n // 2 + 2, n // 2 - 1 : n // 2 + 2] = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
        np.save(path, spot)
    parts = [{"z": [i, i + 1], "psf": {"kind": "file", "path": str(path)}} for i, path in enumerate(paths)]
    with pytest.raises(
        InputError, match=r"the PSF of z \[1, 2\] has the shape \(11, 11\), that of z \[0, 1\] \(9, 9\)"
    ):
        load_psf(config({"kind": "varying", "by": parts}).psf[0], None, 2, (2, 64, 64))


def test_between_the_middles_of_the_ranges_the_psf_is_linear_and_beyond_them_constant(tmp_path: Path) -> None:
    found = load_psf(config(two()).psf[0], None, 2, (4, 64, 64))
    assert isinstance(found, PsfSet)
    near, far = (found.node((i, 0, 0)).values for i in (0, 1))
    assert found.places == ((1.0, 3.0), (0.0,), (0.0,))
    for z, expected in ((0.5, near), (1.0, near), (1.5, 0.75 * near + 0.25 * far), (3.0, far), (3.5, far)):
        np.testing.assert_allclose(found.at((z, 9.0, 9.0)).values, expected, atol=1e-7)
        assert found.at((z, 9.0, 9.0)).values.sum() == pytest.approx(1, abs=1e-6)
    assert found.radius == (0, far.shape[1] // 2, far.shape[2] // 2)  # the widest counts
    np.testing.assert_array_equal(found.sharpest.values, near)
    with pytest.raises(ValueError, match="expected the place"):
        found.at(None)
    with (tmp_path / "psf").open("wb") as stream:
        found.save(stream)
    again = read_saved(tmp_path / "psf", None)
    assert again is not None
    assert again.digest == found.digest
    moved = PsfSet.of([found.node(i) for i in found.node_indices], [[1.0, 2.0], [0.0], [0.0]])
    assert moved.digest != found.digest
    (tmp_path / "psf").write_bytes((tmp_path / "psf").read_bytes()[:-40])
    assert read_saved(tmp_path / "psf", None) is None


def test_a_field_of_psfs_is_bilinear() -> None:
    cells = [(y, x) for y in range(2) for x in range(2)]
    parts = [{"y": [32 * y, 32 * y + 32], "x": [32 * x, 32 * x + 32], "psf": gaussian(2 + y + 2 * x)} for y, x in cells]
    found = load_psf(config({"kind": "varying", "by": parts[::-1]}).psf[0], None, 2, (1, 64, 64))
    assert isinstance(found, PsfSet)
    assert found.varying == [1, 2]
    corners = [found.node((0, y, x)).values for y, x in cells]
    assert corners[0].max() > corners[2].max() > corners[1].max() > corners[3].max()
    np.testing.assert_allclose(found.at((0.5, 32.0, 32.0)).values, np.mean(corners, 0), atol=1e-7)
    np.testing.assert_allclose(found.at((0.5, 16.0, 32.0)).values, (corners[0] + corners[1]) / 2, atol=1e-7)


def section(depth: float, **changes: Any) -> Any:
    return config({**DRY, "depth_um": depth, **changes}).psf[0]


def test_without_mismatch_every_depth_has_the_same_focused_psf() -> None:
    matched = {"immersion_index": 1.33, "numerical_aperture": 0.5}
    plain = load_psf(section(0, **matched), VOXEL, 2, (1, 64, 64))
    found = load_psf(config({**DRY, **matched, "depth_um": {"at_z0": 5}}).psf[0], VOXEL, 2, (5, 64, 64))
    assert isinstance(found, PsfSet)
    assert plain is not None
    assert len(found.node_indices) == 3  # both ends, and the middle that shows that nothing changes
    for index in found.node_indices:
        np.testing.assert_allclose(found.node(index).values, plain.values, atol=1e-6)


def test_the_best_focus_is_that_of_the_optics() -> None:
    best, spread = focus_um(section(20.0, immersion_index=1.33))
    assert (best, spread) == pytest.approx((-20.0, 0.0), abs=1e-5)
    best, spread = focus_um(section(20.0, numerical_aperture=0.05))
    assert best == pytest.approx(-20.0 / 1.33, rel=2e-3)  # apparent depth: the paraxial focus of a flat interface
    assert spread < 0.05
    assert focus_um(section(20.0, defocus_um=3.0)) == focus_um(section(20.0))


def test_psfs_between_nodes_are_exact_within_a_percent_and_the_stage_decides_their_side() -> None:
    depth = DepthByZ(at_z0=0, per_um=2)
    down = load_psf(config({**DRY, "depth_um": depth.model_dump()}).psf[0], VOXEL, 3, (24, 64, 64))
    assert isinstance(down, PsfSet)
    assert 3 <= len(down.node_indices) < 24
    radius = down.radius
    fixed = section(depth_at(depth, 7.0, VOXEL)).model_copy(
        update={"support_um": {axis: r * v for axis, r, v in zip("zyx", radius, VOXEL, strict=True)}}
    )
    exact = refocused(fixed, depth, VOXEL, 3, 24)[0]
    exact = exact / exact.sum()
    assert np.linalg.norm(down.at((7.0, 1, 1)).values - exact) < 0.012 * np.linalg.norm(exact)
    up = load_psf(config({**DRY, "depth_um": {"at_z0": 46, "per_um": -2}}).psf[0], VOXEL, 3, (24, 64, 64))
    assert isinstance(up, PsfSet)
    last, first = down.at((23.5, 1, 1)).values, up.at((0.5, 1, 1)).values
    assert np.linalg.norm(last - last[::-1]) > 0.1 * np.linalg.norm(last)  # rings on one side of the focus
    np.testing.assert_allclose(first, last[::-1], atol=1e-6)


def test_two_planes_have_a_psf_each() -> None:
    found = load_psf(config(deep(at_z0=5, per_um=1)).psf[0], VOXEL, 2, (2, 64, 64))
    assert isinstance(found, PsfSet)
    assert found.places[0] == (0.5, 1.5)


def test_a_depth_outside_of_the_sample_is_refused() -> None:
    with pytest.raises(InputError, match=r"psf.depth_um is -3 µm in plane 3 .* check at_z0 and per_um"):
        load_psf(config(deep(at_z0=0, per_um=-1)).psf[0], VOXEL, 2, (4, 64, 64))
    with pytest.raises(InputError, match="changes along z and needs the voxel size"):
        load_psf(config(deep()).psf[0], None, 2, (4, 64, 64))


def test_every_plane_is_solved_with_its_own_psf(tmp_path: Path) -> None:
    image = beads((2, 40, 40))
    options: dict[str, Any] = {
        "solver": "wiener",
        "classical": {"weight": 0.01},
        "sensor": {"offset": 100, "alpha": 1.0, "sigma": 2.0, "impulse_share": 0, "low": "none", "high": "none"},
        "output": {"dtype": "float32"},
    }
    singles = []
    for n in (1, 3):
        spot = np.full((9, 9), 1e-6, np.float32)  # not zero: nothing is cropped, and both have the same halo
        spot[4 - n : 5 + n, 4 - n : 5 + n] = np.outer(*[np.hanning(2 * n + 3)[1:-1]] * 2)
        np.save(tmp_path / f"{n}.npy", spot)
        singles.append({"kind": "file", "path": str(tmp_path / f"{n}.npy"), "energy": 1.0})
    alone = [ssi.deconvolve(image, psf, axes="zyx", dimensions=2, **options) for psf in singles]
    varying = ssi.psf.varying([{"z": (i, i + 1), "psf": psf} for i, psf in enumerate(singles)])
    found = ssi.deconvolve(image, varying, axes="zyx", dimensions=2, **options)
    parts = [{"z": (i, i + 1), "psf": ssi.psf.measured(psf["path"], energy=1.0)} for i, psf in enumerate(singles)]
    by_mapping = ssi.deconvolve(image, {"kind": "varying", "by": parts}, axes="zyx", dimensions=2, **options)
    assert np.array_equal(found, by_mapping)
    assert np.abs(alone[0] - alone[1]).max() > 100
    for plane in (0, 1):
        np.testing.assert_allclose(found[plane], alone[plane][plane], atol=0.02)


def test_a_run_says_what_varies_and_resumes_with_the_same_psfs_only(tmp_path: Path) -> None:
    path = make_run(tmp_path, beads((4, 40, 40)), psf=two(), solver="wiener")
    prepared = prepare(load_config(path))
    assert prepared.document.notes == ()  # a plane has one PSF
    outcome = go(path)
    assert outcome.complete
    text = psf_section(read_facts(prepared.context, "")).html
    assert all(f"at z {z} (one of 2 that vary along z)" in text for z in (1, 3))
    changed = two()
    changed["by"][1]["psf"] = gaussian(3.5)
    make_run(tmp_path, None, psf=changed, solver="wiener")
    with pytest.raises(RunChangedError, match="psf"):
        go(path)


def test_tiles_in_which_the_psf_changes_too_much_are_shortened_or_refused(tmp_path: Path) -> None:
    def parts(far: float) -> dict[str, Any]:
        return {
            "kind": "varying",
            "by": [{"y": [0, 32], "psf": gaussian(2)}, {"y": [32, 64], "psf": gaussian(far)}],
        }

    image, small = beads((64, 64)), {"core": {"y": 32, "x": 64}, "blend": 4}
    path = make_run(tmp_path, image, "yx", psf=parts(2.3), solver="wiener", tiling=small)
    (note,) = prepare(load_config(path)).document.notes
    bare = make_run(tmp_path, None, "yx", psf=parts(2.3), solver="wiener", tiling={"core": {"y": 32, "x": 64}})
    assert prepare(load_config(bare)).document.plan.blend == (0, 5, 0)  # with one PSF tiles of wiener need none
    assert "the PSF changes within a tile by up to" in note
    path = make_run(tmp_path, None, "yx", psf=parts(6.0), solver="wiener", tiling={"core": 64})
    with pytest.raises(GeometryError, match=r"or set it to \{y: \d+\} or less \(now 64 along y\)"):
        prepare(load_config(path))
    for core, x in ((None, 64), ({"x": 32}, 32)):
        path = make_run(tmp_path, None, "yx", psf=parts(6.0), solver="wiener", tiling={"core": core})
        document = prepare(load_config(path)).document
        assert document.plan.core[1] < 32
        assert document.plan.core[2] == x
        assert "the PSF changes within a tile by up to" in document.notes[-1]


def test_the_psfs_of_a_worker_count_as_its_memory(tmp_path: Path) -> None:
    path = make_run(tmp_path, beads((4, 40, 40)), psf=two(), solver="wiener")
    varying = prepare(load_config(path))
    (psf,) = varying.psfs
    assert isinstance(psf, PsfSet)
    single = make_run(tmp_path, None, psf=gaussian(3), solver="wiener")
    extra = varying.cost.bytes_worker_memory - prepare(load_config(single)).cost.bytes_worker_memory
    assert extra == psf.nodes.nbytes


def test_one_psf_is_the_same_everywhere() -> None:
    psf = Psf(np.ones((1, 1, 3), np.float32) / 3)
    assert psf.at((1.0, 2.0, 3.0)) is psf
    assert psf.sharpest is psf
