"""``ssi.plan``, ``ssi.run``, ``ssi.open_run`` and ``ssi.preview``: the commands, from Python."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import EXTENDED, GAUSSIAN, SERIAL, beads, complete, level, make_run, write_zarr
from distributed import Client, LocalCluster

import ssi_pipeline as ssi
from ssi_pipeline.api.run import as_config
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.results.export import export

IMAGE = beads((2, 64, 96))


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    """Return a run as a dictionary, with dotted names; the input is written."""
    return {
        "input.path": str(write_zarr(folder / "in.zarr", IMAGE, "zyx")),
        "output": {"path": str(folder / "out.zarr"), "uncertainty": 2},
        "psf": GAUSSIAN,
        "solver": "wiener",
        "tiling.core": 64,
        "executor": SERIAL,
        **more,
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the configuration of a run that is complete."""
    path = make_run(tmp_path_factory.mktemp("done"), IMAGE, solver="wiener", output={"uncertainty": 2}, **EXTENDED)
    complete(path)
    return path


def test_a_run_on_the_callers_client(tmp_path: Path, done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen = []
    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0")
    with local as cluster, Client(cluster) as client:
        run = ssi.run(settings(tmp_path, **{"tiling.core": 32}), client, seen.append)
        assert client.status == "running"
        assert client.submit(sum, [1, 2]).result() == 3
    assert run.complete
    assert (seen[-1].stage, seen[-1].done, seen[-1].total) == ("tiles", 12, 12)
    assert capfd.readouterr().err == ""
    assert np.array_equal(run.image().compute(), level(done.parent / "out.zarr"))
    again = ssi.run(load_config(done), progress=False)
    assert again.complete
    assert again.status().tiles_done == 12


def test_a_run_as_an_object(done: Path, tmp_path: Path) -> None:
    output = done.parent / "out.zarr"
    run = ssi.open_run(done)
    assert repr(run) == f"<run {output}: 12 of 12 tiles done>"
    assert np.array_equal(run.image()[1, 10:20].compute(), level(output)[1, 10:20])
    assert run.uncertainty().shape == IMAGE.shape
    assert run.config.solver == "wiener"
    metrics = run.metrics()
    assert metrics["heldout_after"].shape == run.tiles.tile_grid == (1, 1, 2, 2, 3)
    assert metrics.start["x"].tolist() == [0, 32, 64]
    assert (metrics["status"] == 1).all()
    with pytest.raises(InputError, match="level is 1: expected 0 to 0"):
        run.image(1)
    text = run._repr_html_()
    assert "<td" in text
    assert "12 done, 0 running, 0 failed, 0 pending" in text


def test_a_run_is_found_by_its_output_and_its_state_folder_also_where_these_were_moved(
    done: Path, tmp_path: Path
) -> None:
    path = make_run(tmp_path / "there", IMAGE[0], "yx", solver="identity")
    output = complete(path)
    assert ssi.open_run(output).complete
    assert ssi.open_run(output.with_name("out.zarr.run")).complete
    for name in ("out.zarr", "out.zarr.run"):
        (tmp_path / "there" / name).rename(tmp_path / name)
    moved = ssi.open_run(tmp_path / "out.zarr")
    assert moved.config.output.path == tmp_path / "out.zarr"
    assert np.array_equal(moved.image().compute(), IMAGE[0])
    with pytest.raises(InputError, match="has no map of the uncertainty"):
        moved.uncertainty()
    with pytest.raises(InputError, match="no run found at"):
        ssi.open_run(tmp_path)


def test_metrics_as_tables(done: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    xarray = pytest.importorskip("xarray")
    metrics = ssi.open_run(done).metrics()
    export(load_config(done), tmp_path / "tiles.csv")
    table = metrics.to_pandas()
    expected = pandas.read_csv(tmp_path / "tiles.csv", keep_default_na=False, na_values=[""])
    assert list(table.columns) == list(expected.columns)
    assert table["method"].tolist() == ["wiener"] * 12
    assert np.allclose(table["whiteness"], expected["whiteness"], rtol=1e-6)
    grid = metrics.to_xarray()
    assert isinstance(grid, xarray.Dataset)
    written = zarr.open_group(ssi.open_run(done).config.output.path / "quality", mode="r")
    for name in grid.data_vars:
        assert grid[name].attrs == {k: v for k, v in written[name].attrs.items() if k != "_ARRAY_DIMENSIONS"}
        assert {"long_name", "units"} <= grid[name].attrs.keys()
    assert float(grid["whiteness"].sel(x=32, y=0, z=1).squeeze()) == metrics["whiteness"][0, 0, 1, 0, 1]


def test_a_plan_has_numbers_and_the_rows_of_the_command(tmp_path: Path) -> None:
    plan = ssi.plan(settings(tmp_path))
    assert plan.tiles.n_tiles == 4
    assert plan.time is None
    assert dict(plan.rows)["tiles"].startswith("4 = ")
    assert "halo, blend" in str(plan)
    assert "<table>" in plan._repr_html_()
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(ConfigError, match=r"tiling\.cor: unknown key"):
        ssi.plan({**settings(tmp_path / "b"), "tiling.cor": 3})


def test_a_preview_compares_options_and_writes_nothing(tmp_path: Path) -> None:
    config = settings(tmp_path, output={"path": str(tmp_path / "out.zarr")})
    lines: list[str] = []
    found = ssi.preview(config, tiles=1, options={"classical.weight": [0.01, 1.0]}, log=lines.append)
    assert [row.variant for row in found.rows] == ["classical.weight=0.01", "classical.weight=1.0"]
    assert found.rows[0].after.shape == found.rows[1].after.shape
    assert not np.array_equal(found.rows[0].after, found.rows[1].after)
    begun = [line for line in lines if "calibrating, then tiles" in line]  # said first, as a tile may take minutes
    assert lines[0] == begun[0]
    assert len(begun) == len(found.comparison) == len(lines) - len(begun) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zarr"]
    with pytest.raises(ConfigError, match="tiles is 0"):
        ssi.preview(config, tiles=0)


def test_the_import_is_light_and_names_load_when_they_are_used() -> None:
    code = """
import sys, time
start = time.process_time()
import ssi_pipeline as ssi
seconds = time.process_time() - start
heavy = {"torch", "dask", "zarr", "numpy", "pydantic", "matplotlib", "skimage"}
print(seconds < 0.1, sorted(heavy & set(sys.modules)), dir(ssi)[:3])
from ssi_pipeline.run import Outcome
import ssi_pipeline.run.driver as driver
print(callable(ssi.run), ssi.run.driver is driver, callable(ssi.preview), ssi.run.Outcome is Outcome)
ssi.deconvolve, ssi.Inverse, ssi.open_run, ssi.plan, ssi.psf.gaussian, ssi.errors.ConfigError
print(sorted({"torch", "dask", "distributed", "matplotlib", "skimage"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "True [] ['Inverse', 'Result', '__version__']",
        "True True True True",
        "[]",
    ]


@pytest.mark.parametrize("name", ["preview", "run"])
def test_help_of_a_function_with_the_name_of_a_package(name: str) -> None:
    function = getattr(importlib.import_module("ssi_pipeline.api.run"), name)
    shown = getattr(ssi, name)
    assert (shown.__doc__, inspect.signature(shown)) == (function.__doc__, inspect.signature(function))
    assert inspect.isroutine(shown)
    text = pydoc.plain(pydoc.render_doc(shown))
    assert f"{name}(config" in text
    assert function.__doc__.splitlines()[0] in text
    assert "PACKAGE CONTENTS" not in text


def test_psf_lists_its_functions() -> None:
    assert dir(ssi.psf) == sorted(ssi.psf.__all__)
    assert all(inspect.isfunction(getattr(ssi.psf, name)) for name in dir(ssi.psf))


def test_signatures_are_those_of_the_functions() -> None:
    assert list(inspect.signature(ssi.run).parameters)[:3] == ["config", "client", "progress"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ssi.nothing


def test_psfs_of_a_run_are_models_files_or_sections(tmp_path: Path) -> None:
    plain = settings(tmp_path)
    np.save(tmp_path / "psf.npy", np.ones((3, 3)))
    models = {"model": ssi.psf.gaussian(fwhm_px={"y": 2, "x": 2}), "list": [ssi.psf.gaussian(fwhm_px=2), GAUSSIAN]}
    for psf, kinds in ((models["model"], ["gaussian"]), (tmp_path / "psf.npy", ["file"])):
        assert [p.kind for p in as_config({**plain, "psf": psf}).psf] == kinds
    assert [p.kind for p in as_config({**plain, "psf": models["list"]}).psf] == ["gaussian", "gaussian"]
    assert ssi.plan({**plain, "psf": models["model"]}).tiles == ssi.plan(plain).tiles
    for psf in (np.ones((3, 3)), 2.5, (2.0, 2.0)):
        with pytest.raises(ConfigError, match=r"psf is in memory, or a number: expected ssi.psf.gaussian"):
            ssi.plan({**plain, "psf": psf})
