"""A row of another configuration, version or input is refused, not reused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from ssi_pipeline.benchmark import identity
from ssi_pipeline.benchmark.identity import solver_identity
from ssi_pipeline.benchmark.methods import METHODS, Degraded, configuration
from ssi_pipeline.benchmark.protocol import benchmark_psf
from ssi_pipeline.benchmark.rows import Row
from ssi_pipeline.benchmark.setup import Options, set_up
from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError, RunChangedError
from ssi_pipeline.inversion.network import precision
from ssi_pipeline.inversion.network.precision import resolved_precision
from ssi_pipeline.storage.atomic import write_json


@pytest.fixture
def kept(tmp_path: Path) -> Options:
    """An output that holds a row of lr5, wiener, wiener_likelihood and ssi, made on a CPU in float32."""
    (tmp_path / "images").mkdir()
    grey = (255 * np.random.default_rng(0).random((40, 40))).astype(np.uint8)
    imsave(tmp_path / "images" / "a.png", grey, check_contrast=False)
    for folder in ("rows", "estimates"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    changes = ("executor.device=cpu", "training.precision=float32")
    methods = "lr5,wiener,wiener_likelihood,ssi"
    options = Options(tmp_path / "out", tmp_path / "images", methods, changes=changes)
    for job in set_up(options).jobs:
        write_json(job.row_path, dataclasses.asdict(Row(job.image, job.method, 0, job.setup, metrics={"psnr": 1.0})))
        np.save(job.estimate_path, np.zeros((40, 40), np.float32))
    return options


def refused(options: Options, *changes: str) -> str:
    with pytest.raises(RunChangedError) as caught:
        set_up(dataclasses.replace(options, changes=(*options.changes, *changes)))
    return str(caught.value)


def test_the_same_set_up_is_taken_up(kept: Options) -> None:
    assert len(set_up(kept).done) == 4


def test_another_version_of_the_algorithms_is_refused(kept: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "ALGORITHM", identity.ALGORITHM + 1)
    assert "a.lr5 (algorithm)" in refused(kept)


def test_another_device_is_refused_where_a_solver_runs_on_it(kept: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "choose_device", lambda wanted: "cuda")
    assert "a.wiener (device), a.wiener_likelihood (device), a.ssi.0 (device)" in refused(kept)


def test_another_configuration_or_precision_is_refused(kept: Options) -> None:
    assert "a.ssi.0 (configuration, precision)" in refused(kept, "training.precision=bfloat16")
    assert "a.wiener (configuration)" in refused(kept, "classical.weight=7")


def test_precision_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(precision, "_gpu_has_bfloat16", lambda has=has: has)
        assert resolved_precision("auto", "cuda") == ("bfloat16" if has else "float32")
        assert resolved_precision("auto", "cpu") == "float32"  # the same bytes on every processor
        assert resolved_precision("float32", "cuda") == "float32"
    for wanted in ("float32", "bfloat16"):
        found = solver_identity(configuration("ssi", ["executor.device=cpu", f"training.precision={wanted}"]))
        assert found["precision"] == wanted
    assert solver_identity(configuration("wiener"), "cpu")["precision"] == "float32"


def test_every_option_of_a_solver_is_in_its_identity() -> None:
    def of(*changes: str) -> object:
        return solver_identity(configuration("ssi", changes), "cpu")["configuration"]

    assert of("executor.device=cpu") == of()
    changes = ("masking.density=0.3", "sensor.sigma=3", "network.width=3", "training.bounds.upper=1")
    assert len({of(), *map(of, changes)}) == 1 + len(changes)
    other = RunConfig.model_validate({**configuration("ssi").model_dump(), "output": {"path": "elsewhere"}})
    assert solver_identity(other, "cpu") == solver_identity(configuration("ssi"), "cpu")


def test_the_likeliest_weight_is_a_row_of_its_own() -> None:
    truth = np.zeros((48, 48), np.float32)
    truth[12:30, 16:36] = 1
    plain = Degraded.of(truth, benchmark_psf())
    found = {name: METHODS[name].restore(plain, 0) for name in ("wiener", "wiener_likelihood")}
    assert not np.array_equal(found["wiener"].estimate, found["wiener_likelihood"].estimate)
    # what the row stands for comes after the user's changes
    changed = dataclasses.replace(plain, changes=("classical.weight=7",))
    again = METHODS["wiener_likelihood"].restore(changed, 0)
    np.testing.assert_array_equal(again.estimate, found["wiener_likelihood"].estimate)
    assert METHODS["wiener"].restore(changed, 0).facts["weight"] == 7


def test_the_likeliest_weight_for_all_rows_is_refused_where_a_solver_has_none(kept: Options) -> None:
    with pytest.raises(ConfigError, match="is available for solver: wiener only"):
        set_up(dataclasses.replace(kept, methods="tv", changes=("classical.weight=likelihood",)))
