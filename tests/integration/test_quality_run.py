"""The metrics of a run: measured without changing it, exported, shown; each sabotage raises the right alarm."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import EXTENDED, TINY, beads, complete, config_of, hashes, level, make_run, records
from false_alarms import wrong_psf
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.cli import main
from ssi_pipeline.geometry import Box
from ssi_pipeline.inversion import solve
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solver import SolveOptions
from ssi_pipeline.quality.alarms import names_of
from ssi_pipeline.results.export import COLUMNS
from ssi_pipeline.tasks import solve_tile as solving
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.seeds import seed_for

NAMES = {"heldout_excess", "whiteness", "chi2", "r2r_risk", "background", "frc_before", "decorrelation_after"}


def quality(output: Path, name: str) -> NDArray[np.float32]:
    return np.asarray(zarr.open_array(output / "quality" / name, mode="r")[...], np.float32)


@pytest.mark.parametrize("solver", ["wiener", "richardson_lucy"])
def test_measuring_more_changes_no_byte_and_no_fingerprint(tmp_path: Path, solver: str) -> None:
    image = beads((70, 90))
    made = {}
    for extended in (True, False):
        config = make_run(
            tmp_path / str(extended), image, "yx", solver=solver, tiling={"core": 48}, quality={"extended": extended}
        )
        output = complete(config)
        stored = zarr.open_group(output, mode="r").attrs["ssi_pipeline"]["provenance"]["fingerprint"]
        made[extended] = (level(output).tobytes(), stored)
        found = {name for record in records(config, "solve") for name in record.quality}
        assert (found >= NAMES) == extended
        assert not (found & NAMES) or extended
        assert np.isfinite(quality(output, "whiteness")).any() == extended
    assert made[True] == made[False]


def test_resolution_is_in_micrometres_where_they_are_known(tmp_path: Path) -> None:
    found = []
    for size in (None, {"z": 1.0, "y": 0.1, "x": 0.1}):
        sections: dict[str, Any] = {"input": {"voxel_size_um": size}} if size else {}
        config = make_run(
            tmp_path / str(size is None), beads((128, 128)), "yx", tiling={"core": 128}, **EXTENDED, **sections
        )
        complete(config)
        found.append(records(config, "solve")[0].quality["decorrelation_before"])
    assert found[1] == pytest.approx(0.1 * found[0], rel=1e-4)


def test_export_has_a_line_for_each_tile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, beads((2, 2, 40, 70)), "czyx", solver="wiener", tiling={"core": 32}, **EXTENDED)
    table = tmp_path / "metrics.csv"
    assert main(["export", str(config), "--output", str(table)]) == 2  # nothing has been run
    output = complete(config)
    assert main(["export", str(config), "--output", str(table)]) == 0
    assert "24 tiles" in capsys.readouterr().out
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        place = tuple(int(row[f"grid_{a}"]) for a in "tczyx")
        assert float(row["whiteness"]) == pytest.approx(float(quality(output, "whiteness")[place]), rel=1e-5)
        assert [int(row[f"start_{a}"]) for a in "zyx"] == [place[2], 32 * place[3], 32 * place[4]]
        assert (row["status"], row["method"]) == ("done", "wiener")
        assert row["alarms"].split() == names_of(float(quality(output, "flag")[place]))
    assert [row["tile"] for row in rows] == [str(i) for i in range(24)]


def test_parquet_has_the_values_of_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (the extra `parquet`)")
    config = make_run(tmp_path, beads((2, 2, 40, 70)), "czyx", solver="wiener", tiling={"core": 32}, **EXTENDED)
    output = complete(config)
    for name in ("metrics.csv", "metrics.parquet"):
        assert main(["export", str(config), "--output", str(tmp_path / name)]) == 0
    table = parquet.read_table(tmp_path / "metrics.parquet")
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(table.column_names) == COLUMNS
    assert (str(table.schema.field("tile").type), str(table.schema.field("seam").type)) == ("int64", "float")
    assert str(table.schema.field("method").type) == "string"
    for row, other in zip(rows, table.to_pylist(), strict=True):
        for name, value in other.items():
            if isinstance(value, str) or value is None:
                assert row[name] == (value or "")
            else:
                assert float(row[name]) == pytest.approx(value, rel=1e-6)
    assert table["whiteness"].to_pylist() == pytest.approx(list(quality(output, "whiteness").ravel()), rel=1e-6)


def test_export_refuses_what_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, beads((32, 32)), "yx", solver="wiener")
    complete(config)
    assert main(["export", str(config), "--output", str(tmp_path / "metrics.xls")]) == 2
    assert "expected a name that ends in .csv or .parquet" in capsys.readouterr().err
    parquet = tmp_path / "metrics.parquet"
    status = main(["export", str(config), "--output", str(parquet)])
    if importlib.util.find_spec("pyarrow"):
        assert status == 0
        assert parquet.stat().st_size > 0
    else:
        assert status == 2
        assert "pip install pyarrow" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*.partial"))


# --- sabotage: 64 tiles of 32 pixels


def psf_of(width: float) -> dict[str, Any]:
    return {"kind": "gaussian", "fwhm_px": {"y": width, "x": width}}


TILES = 8
CORE = 32
BLEND = 8
WIDTH = 3
"""Of the PSF, full width at half maximum."""
HOT, SATURATED, SHIFTED = (1, 1), (2, 5), (5, 2)
"""Places of the sabotaged tiles, none beside another."""
_SETTINGS: dict[str, Any] = {
    "solver": "wiener",
    "tiling": {"core": CORE, "blend": BLEND},
    "psf": psf_of(WIDTH),
    **EXTENDED,
}


def scene(seed: int = 0, columns: int | None = None) -> NDArray[np.uint16]:
    """Spots and cells, with shot noise, blurred as the configured PSF blurs (3 pixels at half height).

    ``columns``: those with light, the first; None: all.
    """
    rng = np.random.default_rng(seed)
    side = TILES * CORE
    texture = ndimage.gaussian_filter(rng.standard_normal((side, side)), 4)
    light = np.where(texture > texture.std(), 600.0, 0.0)
    spots = rng.random((side, side)) < 0.01
    light[spots] += rng.uniform(2000, 6000, int(spots.sum()))
    if columns is not None:
        light[:, columns:] = 0
    blurred = ndimage.gaussian_filter(light, WIDTH / 2.3548)
    return (rng.poisson(blurred + 100) + rng.normal(0, 4, blurred.shape)).clip(0).round().astype(np.uint16)


def alarms(output: Path) -> dict[tuple[int, int], list[str]]:
    flag = quality(output, "flag")[0, 0, 0]
    return {(int(y), int(x)): names_of(float(flag[y, x])) for y, x in zip(*np.nonzero(flag > 0), strict=True)}


def shift_one(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """A reader that is two pixels off in one tile, whenever it is read: the order depends on times."""
    read = solving.read_pixels

    def off(context: Context, t: int, c: int, domain: Box) -> Any:
        found = read(context, t, c, domain)
        if domain == context.plan.tile(index).domain:
            found = dataclasses.replace(found, raw=np.roll(found.raw, 2, axis=2))
        return found

    monkeypatch.setattr(solving, "read_pixels", off)


def _hot_column(image: NDArray[np.uint16]) -> None:
    y, x = HOT
    image[y * CORE : (y + 1) * CORE, x * CORE + 16] += 3000


def _saturated(image: NDArray[np.uint16]) -> None:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    disc = np.hypot(y - (SATURATED[0] + 0.5) * CORE, x - (SATURATED[1] + 0.5) * CORE) < 5
    glow = ndimage.gaussian_filter(np.where(disc, 9000.0, 0.0), WIDTH / 2.3548)
    image[...] = np.minimum(image + glow, 4095)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a complete run of the scene."""
    config = make_run(tmp_path_factory.mktemp("undisturbed"), scene(), "yx", **_SETTINGS)
    complete(config)
    return config


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a complete run of the scene with a hot column, saturated pixels and a shifted tile."""
    image = scene()
    _hot_column(image)
    _saturated(image)
    config = make_run(tmp_path_factory.mktemp("sabotaged"), image, "yx", **_SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        shift_one(patch, SHIFTED[0] * TILES + SHIFTED[1])
        complete(config)
    return config


@pytest.mark.slow
def test_undisturbed_tiles_raise_no_alarm(undisturbed: Path) -> None:
    found = alarms(config_of(undisturbed).output.path)
    assert len(found) <= 0.02 * TILES**2, found


@pytest.mark.slow
def test_each_sabotage_raises_its_alarm_and_hardly_any_elsewhere(sabotaged: Path) -> None:
    found = alarms(config_of(sabotaged).output.path)
    assert {"impulses", "chi2", "whiteness", "held-out"} & set(found[HOT]), found
    assert "saturated" in found[SATURATED], found
    assert "seam" in found.pop(SHIFTED), found
    far = {p for p in found if all(max(abs(p[0] - y), abs(p[1] - x)) > 1 for y, x in (HOT, SATURATED))}
    assert len(far) <= 0.02 * TILES**2, found


@pytest.mark.long
@pytest.mark.slow
def test_a_tile_with_too_few_steps_is_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solved = solve.solve

    def hasty(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions) -> Solution:
        if seed == seed_for(0, "solve", 5):
            training = problem.config.training.model_copy(update={"steps": 32})
            problem = dataclasses.replace(problem, config=problem.config.model_copy(update={"training": training}))
        return solved(problem, measurement, seed, options)

    monkeypatch.setattr(solve, "solve", hasty)
    training = {**TINY["training"], "steps": 120, "batch": 2, "select": "network"}
    settings = {**_SETTINGS, "solver": "ssi", "network": TINY["network"], "training": training}
    found = alarms(complete(make_run(tmp_path, scene()[: 3 * CORE, : 3 * CORE], "yx", **settings)))
    # so few that training cannot beat the linear solution leave that in place, and `method` says so
    assert "steps" in found.pop((1, 2)), found
    assert not any("steps" in names for names in found.values()), found


WRONG = (9, 28, 50)
"""Three tiles of 64."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "names"),
    [
        ("wiener", {"chi2", "whiteness"}),
        pytest.param("richardson_lucy", {"chi2", "whiteness"}, marks=pytest.mark.long),
        # of short trainings chi2 differs much anyhow; what rings falls below 0, which the output cannot hold
        pytest.param("ssi", {"chi2", "whiteness", "clipped"}, marks=pytest.mark.long),
    ],
)
def test_tiles_with_a_psf_that_is_too_wide_are_flagged(tmp_path: Path, solver: str, names: set[str]) -> None:
    training = {**TINY["training"], "steps": 40, "batch": 2}
    settings = {**_SETTINGS, "solver": solver, "network": TINY["network"], "training": training}
    rows = 5 if solver == "ssi" else TILES  # a tile of a network takes as long as ten of the others
    config = make_run(tmp_path, scene()[: rows * CORE], "yx", **settings)
    wrong = [index for index in WRONG if index < rows * TILES]
    with wrong_psf(wrong):
        output = complete(config)
    assert sorted(record.index for record in records(config, "solve")) == list(range(rows * TILES))  # each once
    found = alarms(output)
    for index in wrong:
        assert names & set(found.pop(divmod(index, TILES), ())), (index, found)
    assert len(found) <= 0.02 * (rows * TILES - len(wrong)), found


@pytest.mark.slow
def test_blank_tiles_are_not_trained_on_and_do_not_make_others_stand_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = scene(columns=3 * CORE)[: 4 * CORE]
    settings = {**_SETTINGS, "solver": "ssi", "network": TINY["network"], "training": TINY["training"]}
    config = make_run(tmp_path, image, "yx", **settings)
    output = complete(config)
    methods = {record.index: record.quality["method"] for record in records(config, "solve")}
    blank = np.array([methods[i] == "blank" for i in range(4 * TILES)]).reshape(4, TILES)
    assert not blank[:, :3].any()
    assert blank[:, 5:].sum() >= 11  # of 12, whose halo sees noise alone
    assert (quality(output, "steps")[0, 0, 0][blank] == 0).all()
    capsys.readouterr()
    assert main(["status", str(config)]) == 0
    assert re.search(rf"\b{blank.sum()}\b.*blank|blank.*\b{blank.sum()}\b", capsys.readouterr().out)
    assert main(["report", str(config)]) == 0
    assert "noise alone" in (config_of(config).state_path / "report.html").read_text()
    assert alarms(output) == {}


@pytest.mark.long
@pytest.mark.slow
def test_a_psf_that_is_too_wide_is_told(tmp_path: Path, undisturbed: Path) -> None:
    wide = make_run(tmp_path, scene(), "yx", **{**_SETTINGS, "psf": psf_of(1.5 * WIDTH)})
    complete(wide)
    said = [(config_of(config).state_path / "run.log").read_text() for config in (undisturbed, wide)]
    assert "check the PSF's width" not in said[0]
    assert "channel 0" not in said[0]  # no alarm of any kind
    assert "check the PSF's width" in said[1]


def dim_scene() -> NDArray[np.uint16]:
    """Cells and spots at 90 photons on 20, 128 x 128: one tile, on which residuals tell nothing of the width."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.standard_normal((128, 128)), 4)
    light = np.where(texture > texture.std(), 45.0, 0.0)
    light[rng.random(light.shape) < 0.01] += 400
    photons = ndimage.gaussian_filter(light + 20, WIDTH / 2.3548)
    return (2 * (rng.poisson(photons) + rng.normal(0, 1.5, photons.shape)) + 100).clip(0).round().astype(np.uint16)


_long = pytest.mark.long


@pytest.mark.parametrize(
    ("solver", "wider"),
    [
        ("wiener", 2.0),
        pytest.param("wiener", 1.5, marks=_long),
        *(pytest.param(name, w, marks=_long) for name in ("richardson_lucy", "tv", "tv_cg", "ssi") for w in (1.5, 2.0)),
    ],
)
def test_a_psf_that_is_too_wide_is_told_of_dim_data_by_every_solver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], solver: str, wider: float
) -> None:
    settings = {"solver": solver, "tiling": {"core": 128}, "psf": psf_of(wider * WIDTH), **EXTENDED, **TINY}
    config = make_run(tmp_path, dim_scene(), "yx", **settings)
    complete(config)
    said = (config_of(config).state_path / "run.log").read_text()
    assert said.count("channel 0: the PSF is too wide") + said.count("expected 0): the PSF is too wide") >= 2
    capsys.readouterr()
    assert main(["status", str(config)]) == 0
    assert "the PSF is too wide" in " ".join(capsys.readouterr().out.split())
    assert main(["report", str(config)]) == 0
    report = (config_of(config).state_path / "report.html").read_text()
    assert "the PSF is too wide" in report
    assert "psf_width" in report


@pytest.mark.slow
def test_status_and_export_tell_of_alarms(sabotaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config_of(sabotaged).output.path
    before = hashes(output)
    assert main(["status", str(sabotaged)]) == 0
    assert "saturated 1" in capsys.readouterr().out
    assert main(["export", str(sabotaged), "--output", str(tmp_path / "m.csv")]) == 0
    with (tmp_path / "m.csv").open() as file:
        flagged = [row for row in csv.DictReader(file) if "saturated" in row["alarms"]]
    assert [(row["grid_y"], row["grid_x"]) for row in flagged] == [("2", "5")]
    assert hashes(output) == before
