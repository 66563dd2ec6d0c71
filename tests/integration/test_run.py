"""Runs from zarr to OME-Zarr: results, checks, and recomputation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
import zarr
from builders import (
    GAUSSIAN,
    TINY,
    beads,
    complete,
    config_of,
    contents,
    go,
    hashes,
    image_files,
    level,
    make_run,
    ramp,
    records,
    write_zarr,
)

from ssi_pipeline.cli import main
from ssi_pipeline.errors import LockedError, RunChangedError
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.network.checkpoint import Model, unpack
from ssi_pipeline.inversion.network.training import build_inverse
from ssi_pipeline.inversion.problem import apply, build_problem
from ssi_pipeline.results import read_status
from ssi_pipeline.results.finish import METRICS
from ssi_pipeline.run import verify
from ssi_pipeline.storage.outputs.quality_arrays import TILE_DIMENSIONS
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.ledger import latest_records
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.marker import claim_state_folder
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.pixels import read_pixels
from ssi_pipeline.tasks.solve_tile import read_tile, solve_tile

DASK = {"kind": "dask", "workers": 2, "memory_gib": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# --- what comes out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_identity_gives_the_input_back(tmp_path: Path, dtype: str, dimensions: int) -> None:
    image = ramp((5, 50, 70), dtype)
    core = {"y": 32, "x": 32} | ({"z": 3} if dimensions == 3 else {})
    psf = {"kind": "gaussian", "fwhm_px": {"z": 2, "y": 2, "x": 2}}
    tiling = {"dimensions": dimensions, "core": core, "blend": {"y": 8, "x": 8}}
    config = make_run(tmp_path, image, tiling=tiling, psf=psf)
    found = level(complete(config))
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("blend", [0, 8])
@pytest.mark.parametrize(("axes", "shape"), [("yx", (50, 70)), ("cyx", (2, 50, 40)), ("tczyx", (2, 2, 2, 40, 33))])
def test_identity_keeps_all_axes(tmp_path: Path, axes: str, shape: tuple[int, ...], blend: int) -> None:
    image = ramp(shape)
    config = make_run(tmp_path, image, axes, tiling={"core": 32, "blend": blend})
    output = complete(config)
    np.testing.assert_array_equal(level(output), image)
    assert verify(config_of(config)).good


def test_a_region_of_interest_is_cut_out(tmp_path: Path) -> None:
    image = ramp((2, 3, 4, 60, 70))
    roi = {"t": [1, 2], "c": [0, 2], "z": [1, 4], "y": [7, 52], "x": [11, 70]}
    config = make_run(tmp_path, image, "tczyx", input={"roi": roi}, tiling={"core": 16, "blend": 4})
    np.testing.assert_array_equal(level(complete(config)), image[1:2, 0:2, 1:4, 7:52, 11:70])


def test_float32_output_is_not_rounded(tmp_path: Path) -> None:
    image = ramp((2, 40, 40))
    found = level(complete(make_run(tmp_path, image, output={"dtype": "float32"})))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, image.astype(np.float32))


def write_ome(path: Path, image: np.ndarray[Any, Any]) -> Path:
    group = zarr.create_group(path)
    group.create_array("0", data=image, chunks=(1, 1, 64, 64), dimension_names=tuple("czyx"))
    axes = [{"name": "c", "type": "channel"}] + [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    transforms = [
        {"type": "scale", "scale": [1.0, 0.5, 0.25, 0.25]},
        {"type": "translation", "translation": [0.0, 10.0, 20.0, 30.0]},
    ]
    channels = [{"label": name, "color": colour, "window": {}} for name, colour in (("a", "FF0000"), ("b", "00FF00"))]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transforms}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "omero": {"channels": channels}}
    return path


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_the_output_is_ome_zarr(tmp_path: Path, version: str) -> None:
    image = ramp((2, 3, 150, 301))
    write_ome(tmp_path / "in.zarr", image)
    chunk = {"z": 1, "y": 50, "x": 50}
    config = make_run(
        tmp_path,
        None,
        input={"roi": {"c": [1, 2], "x": [1, 301]}},
        output={"ome_zarr": version, "chunk": chunk},
        tiling={"core": 100},
    )
    output = complete(config)
    group = zarr.open_group(output, mode="r")
    assert group.metadata.zarr_format == {"0.5": 3, "0.4": 2}[version]
    attributes = group.attrs.asdict()
    ome = attributes["ome"] if version == "0.5" else attributes
    document = ome["multiscales"][0]
    assert (ome if version == "0.5" else document)["version"] == version
    assert [a["name"] for a in document["axes"]] == list("czyx")
    assert [a.get("unit") for a in document["axes"]] == [None, *3 * ["micrometer"]]
    assert [c["label"] for c in ome["omero"]["channels"]] == ["b"]

    crop = image[1:2, :, :, 1:]
    np.testing.assert_array_equal(level(output), crop)
    assert [d["path"] for d in document["datasets"]] == ["0", "1"]
    scales = [[t[t["type"]] for t in d["coordinateTransformations"]] for d in document["datasets"]]
    # the region begins at c 1, x 1; the first voxel of level 1 is the mean of two: its centre is half a voxel further
    assert scales[0] == [[1.0, 0.5, 0.25, 0.25], [1.0, 10.0, 20.0, 30.25]]
    assert scales[1] == [[1.0, 0.5, 0.5, 0.5], [1.0, 10.0, 20.125, 30.375]]
    expected = np.rint(crop.astype(float).reshape(1, 3, 75, 2, 150, 2).mean((3, 5)))
    np.testing.assert_array_equal(level(output, 1), expected)

    ours = attributes["ssi_pipeline"]
    assert ours["status"] == "complete"
    provenance = ours["provenance"]
    assert provenance["fingerprint"] == RunDocument.load(StatePaths(config_of(config).state_path).document).fingerprint
    assert provenance["basis"]["config"]["solver"] == "identity"
    assert provenance["seed"] == 0
    assert {"ssi_pipeline", "torch", "zarr"} <= provenance["versions"].keys()
    if version == "0.5":
        assert zarr.open_array(output / "0", mode="r").metadata.dimension_names == tuple("czyx")


def test_a_pyramid_of_odd_sizes_and_fine_planes(tmp_path: Path) -> None:
    """z is as fine as x here, so it is halved as well; the last cells average what they have."""
    image = ramp((5, 31, 515), "float32")
    voxel = {"z": 0.1, "y": 0.1, "x": 0.1}
    output = complete(make_run(tmp_path, image, input={"voxel_size_um": voxel}, tiling={"core": {"y": 32, "x": 128}}))
    finer = image
    for number, shape in ((1, (3, 16, 258)), (2, (2, 8, 129))):
        expected = np.empty(shape)
        for z, y, x in np.ndindex(shape):
            expected[z, y, x] = finer[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(dtype=np.float64)
        found = level(output, number)
        # means are taken axis by axis in float64 and rounded once to float32: half a unit in the last place
        np.testing.assert_allclose(found, expected, rtol=2**-23, atol=3000 * 2**-23)
        finer = found
    assert not (output / "3").exists()


def test_tiff_in(tmp_path: Path) -> None:
    image = ramp((3, 40, 50))
    tifffile.imwrite(tmp_path / "in.tif", image, imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(level(complete(make_run(tmp_path, None, input={"path": "in.tif"}))), image)


# --- damage is seen and mended


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_blocks_of_zeros_are_written_as_well(tmp_path: Path, version: str) -> None:
    """zarr leaves out chunks of fill value by default; here a missing file means that something was lost."""
    image = np.zeros((2, 64, 300), np.uint16)
    image[0, :32, :50] = 7
    config = make_run(tmp_path, image, output={"ome_zarr": version}, tiling={"core": 50})
    made = complete(config)
    assert len(image_files(made)) == 2 * 2 * 6 + 2 * 1 * 3  # shards of 50 x 50 in 64 x 300, and in 32 x 150
    assert verify(config_of(config)).good
    before = len(records(config, "solve"))
    complete(config)
    assert len(records(config, "solve")) == before


@pytest.mark.parametrize("times", [5, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.parametrize("version", ["0.5", pytest.param("0.4", marks=pytest.mark.long)])
def test_a_flipped_byte_is_always_found_and_mended(tmp_path: Path, version: str, times: int) -> None:
    output = {"ome_zarr": version, "chunk": {"y": 16, "x": 16}}
    tiling = {"core": {"y": 32, "x": 96}, "blend": {"y": 8, "x": 8}}
    config = make_run(tmp_path, beads((1, 64, 288)), output=output, tiling=tiling)
    made, rng = complete(config), np.random.default_rng(1)
    good = hashes(made)
    files = image_files(made)
    assert {p.relative_to(made).parts[0] for p in files} == {"0", "1"}
    for _ in range(times):
        path = files[rng.integers(len(files))]
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        found = verify(config_of(config))
        assert not found.good, path
        assert len(found.problems) == 1
        assert zarr.open_group(made, mode="r").attrs["ssi_pipeline"]["status"] == "incomplete"  # type: ignore[index, call-overload]
        complete(config)
        assert hashes(made) == good
    assert verify(config_of(config)).good


@pytest.mark.parametrize("harm", ["delete", "truncate", "empty"])
@pytest.mark.parametrize("where", ["0", "1"])
def test_a_lost_or_short_file_is_found_and_mended(tmp_path: Path, harm: str, where: str) -> None:
    config = make_run(tmp_path, ramp((1, 64, 288)), tiling={"core": {"y": 32, "x": 96}})
    made = complete(config)
    good = hashes(made)
    path = next(p for p in image_files(made) if p.relative_to(made).parts[0] == where)
    if harm == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if harm == "empty" else -7])
    assert not verify(config_of(config)).good
    complete(config)
    assert hashes(made) == good
    # and without verify: the start of a run looks at the sizes of all files
    path.unlink()
    complete(config)
    assert hashes(made) == good


def test_damaged_scratch_is_computed_again(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)), tiling={"core": 32, "blend": 8}, output={"keep_scratch": True})
    made = complete(config)
    good = hashes(made)
    chunk = next(config_of(config).state_path.glob("scratch-*.zarr")) / "1.0.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 16
    chunk.write_bytes(content)
    image_files(made)[0].unlink()
    complete(config)
    assert hashes(made) == good
    assert [r.status for r in records(config, "solve") if r.index == 1] == ["done", "invalid", "done"]


# --- the same bytes, however it is run


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(2,), pytest.param((1, 3), marks=pytest.mark.long)])
def test_executors_and_numbers_of_workers_agree_to_the_byte(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    image = beads((2, 64, 300))
    made = {}
    for name, executor in (
        ("serial", {"kind": "serial", "device": "cpu"}),
        *((f"dask-{n}", DASK | {"workers": n}) for n in numbers),
    ):
        core = {"y": 32, "x": 100}
        config = make_run(tmp_path / name, image, solver="ssi", tiling={"core": core}, executor=executor, **TINY)
        made[name] = hashes(complete(config))
        assert {r.quality["method"] for r in records(config, "solve")} <= {"network", "wiener"}
        assert any(r.quality["method"] == "network" for r in records(config, "solve"))
    assert len({tuple(sorted(files.items())) for files in made.values()}) == 1


def test_a_shared_network_gives_what_it_gives_on_the_whole_plane(tmp_path: Path) -> None:
    """DESIGN, section 3: tile cores do not divide the plane, no blending, float32 out."""
    training = {**TINY["training"], "scope": "shared", "steps": 24}
    config = make_run(
        tmp_path,
        beads((2, 85, 107)),
        solver="ssi",
        tiling={"core": 32},
        output={"dtype": "float32"},
        network=TINY["network"],
        training=training,
    )
    found = level(complete(config))
    paths = StatePaths(config_of(config).state_path)
    context = Context(RunDocument.load(paths.document), paths)
    calibration: ChannelCalibration = context.calibration(0)
    problem = build_problem(context.psf(0), calibration, config_of(config), "cpu")
    inverse = build_inverse(
        problem, torch.Generator().manual_seed(0), unpack(problem, Model.load(paths.shared_model(0)))
    )
    frame = context.plan.frame
    for z in range(2):
        plane = type(frame)((z, *frame.start[1:]), (z + 1, *frame.stop[1:]))
        measurement = read_pixels(context, 0, 0, plane).measurement(plane)
        normal = torch.from_numpy((measurement.y[0] - calibration.offset) / calibration.scale)
        bounded = apply(inverse, problem.linear(normal)).clamp(min=problem.objective.low)
        whole = bounded.numpy() * calibration.scale + calibration.offset
        inside = whole[tuple(slice(-a, -a + n) for a, n in zip(frame.start[1:], found.shape[1:], strict=True))]
        assert np.abs(found[z] - inside).max() <= 1e-5 * calibration.scale
    assert {r.quality["method"] for r in records(config, "solve")} == {"network"}


def test_tiles_that_a_shared_network_predicts_worse_take_a_classical_solver_and_are_blended(tmp_path: Path) -> None:
    training = {**TINY["training"], "scope": "shared", "steps": 24, "select": "best"}
    options = {"solver": "ssi", "tiling": {"core": 64}, "output": {"dtype": "float32"}, "network": TINY["network"]}
    config = make_run(tmp_path, beads((1, 64, 128)), training=training, **options)
    found = level(complete(config))
    solved = records(config, "solve")
    assert {r.quality["method"] for r in solved} <= {"tv_cg", "richardson_lucy"}
    assert all("network held-out loss" in r.quality["note"] for r in solved)
    paths = StatePaths(config_of(config).state_path)
    context = Context(RunDocument.load(paths.document), paths)
    assert context.plan.blend[2] > 0
    assert paths.shared_model(0).is_file()
    for tile in (context.plan.tile(i) for i in range(2)):
        job = Job("solve", tile.index)
        alone = solve_tile(context, job, read_tile(context, job)).layers[0]
        inside = tile.core.grow(tuple(-b for b in context.plan.blend))
        part = alone[inside.relative_to(tile.valid.start).slices]
        np.testing.assert_array_equal(found[inside.slices], part)


def test_metrics_lie_on_the_tile_grid(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((2, 2, 40, 70)), "czyx", solver="ssi", tiling={"core": 32}, **TINY)
    output = complete(config)
    group = zarr.open_group(output / "quality", mode="r")
    assert set(group.array_keys()) == set(METRICS) | set(TILE_DIMENSIONS)
    values = {name: np.asarray(group[name][...]) for name in METRICS}  # type: ignore[index]
    assert {v.shape for v in values.values()} == {(1, 2, 2, 2, 3)}
    assert (values["status"] == 1).all()
    latest = latest_records(config_of(config).state_path / "ledger.jsonl", "solve")
    for index, record in latest.items():
        assert values["heldout_after"].flat[index] == np.float32(record.quality["heldout_after"])
        assert values["seconds"].flat[index] == np.float32(record.seconds)
    assert np.isfinite(values["seam"]).all()
    assert (values["seam"] > 0).all()


# --- one at a time, the same thing again, something else


def test_a_second_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, ramp((1, 32, 32)))
    state = config_of(config).state_path
    claim_state_folder(state)
    with run_lock(state / "lock"), pytest.raises(LockedError, match="another run works on this output"):
        go(config)
    with run_lock(state / "lock"):
        assert main(["run", str(config)]) == 3
    assert "wait for it" in capsys.readouterr().err
    complete(config)


def test_nothing_is_done_again(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 300)), tiling={"core": 50, "blend": 10})
    output = complete(config)
    ledger = (config_of(config).state_path / "ledger.jsonl").read_bytes()
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    outcome = go(config)
    assert outcome.complete
    assert outcome.computed_tiles == 0
    assert (config_of(config).state_path / "ledger.jsonl").read_bytes() == ledger
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before


def test_a_run_killed_before_its_last_words_is_finished(tmp_path: Path) -> None:
    """Every block is recorded, but neither the metrics nor the status are written."""
    config = make_run(tmp_path, ramp((1, 64, 64)), tiling={"core": 32, "blend": 8})
    output = complete(config)
    attributes = zarr.open_group(output, mode="r+").attrs
    attributes["ssi_pipeline"] = {**attributes["ssi_pipeline"], "status": "incomplete"}  # type: ignore[dict-item]
    shutil.rmtree(output / "quality")
    assert go(config).computed_tiles == 0
    assert zarr.open_group(output, mode="r").attrs["ssi_pipeline"]["status"] == "complete"  # type: ignore[index, call-overload]
    assert (output / "quality" / "seam").is_dir()
    assert not (config_of(config).state_path / "scratch.zarr").exists()


def test_a_run_killed_in_its_first_moments_is_begun(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 32, 32)))
    state = config_of(config).state_path
    token = claim_state_folder(state).token
    for name in ("lock", "psf-c0.npy", ".run.json.0123456789ab.partial"):
        (state / name).write_bytes(b"torn")
    (tmp_path / f".out.zarr.{token}.partial").mkdir()
    complete(config)
    assert not list(tmp_path.rglob("*.partial"))


def change(path: Path, **sections: Any) -> None:
    document = yaml.safe_load(path.read_text())
    for key, value in sections.items():
        plain = document.get(key)
        document[key] = {**plain, **value} if isinstance(plain, dict) and key != "psf" else value
    path.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"seed": 4}, "config.seed: 0 -> 4"),
        ({"tiling": {"core": 16}}, "config.tiling.core: 32 -> 16"),
        ({"output": {"dtype": "float32"}}, "config.output.dtype: input -> float32"),
        ({"psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 3}}}, "config.psf"),
    ],
)
def test_a_changed_configuration_is_refused(tmp_path: Path, section: dict[str, Any], line: str) -> None:
    config = make_run(tmp_path, ramp((1, 40, 40)))
    complete(config)
    before = contents(tmp_path / "out.zarr")
    change(config, **section)
    with pytest.raises(RunChangedError) as caught:
        go(config)
    assert line in str(caught.value)
    assert "ssi run --new" in str(caught.value)
    assert contents(tmp_path / "out.zarr") == before


def test_a_changed_psf_file_is_refused(tmp_path: Path) -> None:
    psf = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32)
    np.save(tmp_path / "psf.npy", psf)
    config = make_run(tmp_path, ramp((1, 40, 40)), psf={"kind": "file", "path": "psf.npy"})
    complete(config)
    (tmp_path / "psf.npy").rename(tmp_path / "moved.npy")
    change(config, psf={"kind": "file", "path": "moved.npy"})
    assert go(config).complete  # the same PSF at another place
    np.save(tmp_path / "moved.npy", psf + np.float32(0.5))
    with pytest.raises(RunChangedError, match="psf: "):
        go(config)


def test_a_changed_input_is_refused_and_a_moved_one_is_not(tmp_path: Path) -> None:
    image = ramp((1, 40, 40))
    config = make_run(tmp_path, image)
    complete(config)
    (tmp_path / "in.zarr").rename(tmp_path / "moved.zarr")
    change(config, input={"path": "moved.zarr"})
    assert go(config).complete
    zarr.open_array(tmp_path / "moved.zarr", mode="r+")[0, 5, 5] = image[0, 5, 5] ^ 1
    with pytest.raises(RunChangedError, match=r"input\.content: "):
        go(config)
    shutil.rmtree(tmp_path / "moved.zarr")
    write_zarr(tmp_path / "moved.zarr", image[:, :39], "zyx")
    with pytest.raises(RunChangedError, match=r"input\.shape\[3\]: 40 -> 39"):
        go(config)


def test_another_executor_is_no_change(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 40, 40)))
    complete(config)
    threads = min(2, len(os.sched_getaffinity(0)))  # more than the machine lends would be refused
    change(config, executor={"tile_limit_s": 900, "threads": threads, "workers": 7})
    assert go(config).complete


@pytest.mark.parametrize("keep", ["both", "output", "state"])
def test_new_keeps_the_old_output(tmp_path: Path, keep: str) -> None:
    """Also where only one of output and state is left."""
    config = make_run(tmp_path, ramp((1, 40, 40)), output={"dtype": "float32"})
    complete(config)
    kept = contents(tmp_path / "out.zarr")
    if keep == "output":
        shutil.rmtree(tmp_path / "out.zarr.run")
    elif keep == "state":
        shutil.rmtree(tmp_path / "out.zarr")
    change(config, output={"dtype": "input"})
    said: list[str] = []
    assert go(config, new=True, log=said.append).complete
    assert level(tmp_path / "out.zarr").dtype == np.uint16
    assert len(said) == (1 if keep == "state" else 2)
    if keep != "state":
        (old,) = tmp_path.glob("out.zarr.old-*")
        assert contents(old) == kept
    assert go(config, new=True).complete  # within the same second


@pytest.mark.long
def test_a_new_run_with_another_plan_is_not_given_the_old_one(tmp_path: Path) -> None:
    """In one process: equal configurations may be cut otherwise where the workers have other memory."""
    image = ramp((1, 700, 700))
    config = make_run(tmp_path, image, solver="wiener", tiling={"core": None})
    complete(config)
    change(config, executor={"memory_gib": 1.15})
    before = RunDocument.load(tmp_path / "out.zarr.run" / "run.json").plan
    complete(config, new=True)
    after = RunDocument.load(tmp_path / "out.zarr.run" / "run.json").plan
    assert before.core != after.core
    assert verify(config_of(config)).good


# --- tiles that fail


def corrupt(chunk: Path) -> bytes:
    """Damage a chunk of the input; returns what it was."""
    whole = chunk.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    return whole


@pytest.mark.parametrize(
    ("blend", "executor"),
    [
        (0, {"kind": "serial"}),
        (8, {"kind": "serial"}),
        pytest.param(0, DASK | {"workers": 1}, marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param(8, DASK | {"workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_failed_tile_stops_no_other(
    tmp_path: Path, blend: int, executor: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    image = ramp((2, 96, 96))
    undisturbed = make_run(tmp_path / "a", image, tiling={"core": 32, "blend": blend})
    good = hashes(complete(undisturbed))
    config = make_run(tmp_path / "b", None, tiling={"core": 32, "blend": blend}, executor=executor)
    write_zarr(tmp_path / "b" / "in.zarr", image, "zyx", crc=True)
    write_zarr(tmp_path / "a" / "crc.zarr", image, "zyx", crc=True)
    chunk = tmp_path / "b" / "in.zarr" / "c" / "1" / "0" / "0"
    whole = corrupt(chunk)

    assert main(["run", str(config)]) == 1
    assert "failed" in capsys.readouterr().err
    status = read_status(config_of(config))
    needing = {9} if blend == 0 else {9, 10, 12, 13}
    assert {key for key, _ in status.failures} == {f"solve/{index}" for index in needing}
    assert status.tiles_done == 18 - len(needing)
    found = level(tmp_path / "b" / "out.zarr")
    np.testing.assert_array_equal(found[0], image[0])
    assert main(["status", str(config)]) == 1
    shown = capsys.readouterr().out
    assert "solve/9 failed" in shown
    assert "cannot be read" in shown
    # without --retry-failed they are left alone
    assert main(["run", str(config)]) == 1
    assert go(config).computed_tiles == 0

    chunk.write_bytes(whole)
    assert main(["run", "--retry-failed", str(config)]) == 0
    assert hashes(tmp_path / "b" / "out.zarr") == good
    assert main(["status", str(config)]) == 0


def test_pixels_that_are_not_finite_can_fail_their_tile(tmp_path: Path) -> None:
    image = ramp((1, 96, 96), "float32")
    image[0, 70, 70] = np.nan
    config = make_run(tmp_path, image, input={"nonfinite": "fail"})
    outcome = go(config)
    assert (outcome.tiles_done, outcome.tiles_failed) == (8, 1)
    assert not outcome.complete
    ((key, error),) = read_status(config_of(config)).failures
    assert key == "solve/8"
    assert "1 pixels are NaN or infinite; set input.nonfinite: mask" in error
    assert [r.attempt for r in records(config, "solve") if r.status == "failed"] == [2]


def test_pixels_that_are_not_finite_are_masked_and_counted(tmp_path: Path) -> None:
    image = beads((1, 64, 96)).astype(np.float32)
    image[0, 10, 10], image[0, 50, 80], image[0, 51, 80] = np.nan, np.inf, -np.inf
    config = make_run(tmp_path, image, solver="ssi", tiling={"core": 32}, **TINY)
    output = complete(config)
    assert np.isfinite(level(output)).all()
    counted = np.asarray(zarr.open_array(output / "quality" / "nonfinite", mode="r")[...])[0, 0, 0]
    assert counted[0, 0] >= 1
    assert counted[1, 2] >= 2
    assert level(output)[0, 10, 10] < 2 * np.nanmax(image[np.isfinite(image)])


def test_constant_tiles_and_an_empty_channel_pass_through(tmp_path: Path) -> None:
    image = np.full((2, 1, 64, 160), 100, np.uint16)
    image[0, :, :, :64] = beads((1, 64, 64))
    image[1] = 0
    config = make_run(
        tmp_path, image, "czyx", solver="ssi", input={"fill": "none"}, tiling={"core": 32, "blend": 0}, **TINY
    )
    found = level(complete(config))
    methods = {r.index: r.quality["method"] for r in records(config, "solve")}
    assert methods[4] == methods[9] == "constant"
    np.testing.assert_array_equal(found[0, :, :, 128:], 100)
    np.testing.assert_array_equal(found[1], 0)


# --- networks that are kept, and begun from


def test_networks_are_kept_and_begun_from(tmp_path: Path) -> None:
    image = beads((1, 64, 64))
    training = {**TINY["training"], "steps": 40}
    shared = make_run(
        tmp_path / "shared",
        image,
        solver="ssi",
        network=TINY["network"],
        training={**training, "scope": "shared"},
    )
    complete(shared)
    model = tmp_path / "shared" / "out.zarr.run" / "models" / "shared-c0.pt"
    assert model.is_file()
    for name, start in (("file", model), ("folder", model.parent)):
        again = make_run(
            tmp_path / name,
            image,
            solver="ssi",
            network=TINY["network"],
            training={**training, "scope": "shared", "start_from": str(start)},
        )
        assert hashes(complete(again)) == hashes(tmp_path / "shared" / "out.zarr")
        assert not records(again, "train")
    tuned = make_run(
        tmp_path / "tuned",
        image,
        solver="ssi",
        network=TINY["network"],
        training={**training, "start_from": str(model), "keep_models": True},
    )
    complete(tuned)
    done = [r for r in records(tuned, "solve") if r.quality["method"] == "network"]
    kept = {p.name for p in (tmp_path / "tuned" / "out.zarr.run" / "models").rglob("tile-*.pt")}
    assert done
    assert kept == {f"tile-{r.index}.pt" for r in done}
    assert hashes(tmp_path / "tuned" / "out.zarr") != hashes(tmp_path / "shared" / "out.zarr")


def test_each_channel_has_its_psf(tmp_path: Path) -> None:
    plane = beads((1, 64, 64))
    wide = {"kind": "gaussian", "fwhm_px": {"y": 4, "x": 4}}
    made = {}
    for name, psf in (("narrow, wide", [GAUSSIAN, wide]), ("wide, narrow", [wide, GAUSSIAN])):
        config = make_run(tmp_path / name, np.stack([plane, plane]), "czyx", solver="wiener", psf=psf)
        made[name] = level(complete(config))
    first, second = made.values()
    np.testing.assert_array_equal(first, second[::-1])
    assert not np.array_equal(first[0], first[1])
