"""A given model of another network, or a damaged one, is refused before any work."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import (
    GAUSSIAN,
    SERIAL,
    TINY,
    beads,
    complete,
    config_of,
    contents,
    hashes,
    image_files,
    make_run,
    records,
)

from ssi_pipeline.cli import main
from ssi_pipeline.errors import StoppedError
from ssi_pipeline.inversion.network.checkpoint import Model
from ssi_pipeline.run import run

IMAGE = beads((1, 64, 64))
SHARED = {**TINY, "training": {**TINY["training"], "scope": "shared", "steps": 40}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("donor")
    config = make_run(folder, IMAGE, solver="ssi", **SHARED)
    complete(config)
    return config_of(config).state_path / "models" / "shared-c0.pt"


def user(folder: Path, model: Path, image: Any = IMAGE, **sections: Any) -> Path:
    training = {**SHARED["training"], "start_from": str(model)}
    return make_run(folder, image, solver="ssi", **{**SHARED, "training": training, **sections})


def refused(config: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    before = contents(config.parent)
    for command in ("plan", "run"):
        assert main([command, str(config)]) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        for word in ("training.start_from", *words):
            assert word in message, message
    assert contents(config.parent) == before


def test_the_right_one_is_accepted(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = user(tmp_path, model)
    assert main(["plan", str(config)]) == 0
    complete(config)


class Malice:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
    def harm(file: Path, folder: Path) -> None:
        torch.save(change(torch.load(file, weights_only=True)), file)

    return harm


def without_a_tensor(content: dict[str, Any]) -> dict[str, Any]:
    content["state"].popitem()
    return content


def with_a_nan(content: dict[str, Any]) -> dict[str, Any]:
    next(iter(content["state"].values())).view(-1)[0] = float("nan")
    return content


HARMS: dict[str, Callable[[Path, Path], Any]] = {
    "empty": lambda file, _: file.write_bytes(b""),
    "text": lambda file, _: file.write_text("a thesis"),
    "cut": lambda file, _: file.write_bytes(file.read_bytes()[:-100]),
    "cut in the middle": lambda file, _: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "malicious": lambda file, folder: file.write_bytes(pickle.dumps(Malice(folder / "owned"))),
    "malicious, of torch": lambda file, folder: torch.save({"state": Malice(folder / "owned")}, file),
    "a list": rewritten(lambda _: [1, 2]),
    "other keys": rewritten(lambda content: {"weights": content["state"]}),
    "a document that is a list": rewritten(lambda content: {**content, "document": "[]"}),
    "another format": rewritten(lambda content: {**content, "document": '{"format": 99}'}),
    "a tensor less": rewritten(without_a_tensor),
    "NaN": rewritten(with_a_nan),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_damaged_one_is_refused_by_plan(
    tmp_path: Path, model: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given.pt"
    shutil.copy(model, given)
    HARMS[name](given, tmp_path)
    refused(user(tmp_path / "run", given), capsys, "given.pt")
    assert not (tmp_path / "owned").exists()


def test_one_for_another_psf_is_refused_with_both(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = {"kind": "gaussian", "fwhm_px": {"y": 4, "x": 4}}
    digest = Model.load(model).document["psf_digest"]
    refused(user(tmp_path, model, psf=wide), capsys, f"trained for the PSF {digest}", "this run has", "pixels, peak")


def test_last_digits_of_a_psf_do_not_matter(tmp_path: Path, model: Path) -> None:
    """On another machine a formula may come out one bit off."""
    made = Model.load(model)
    assert made.psf is not None
    given = tmp_path / "given.pt"
    Model(made.state, {**made.document, "psf_digest": "0" * 16}, np.nextafter(made.psf, np.float32(1))).save(given)
    assert main(["plan", str(user(tmp_path / "run", given))]) == 0


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"network": {"width": 8, "levels": 2}}, ("width",)),
        ({"network": {"width": 4, "levels": 3}}, ("levels",)),
        (
            {
                "tiling": {"core": {"z": 8, "y": 32, "x": 32}, "dimensions": 3},
                "image": beads((8, 64, 64)),
                "psf": {"kind": "gaussian", "fwhm_px": {"z": 2, "y": 2, "x": 2}},
            },
            ("axes 2", "has 3"),
        ),
    ],
    ids=["width", "levels", "dimensions"],
)
def test_one_of_another_shape_is_refused(
    tmp_path: Path, model: Path, sections: dict[str, Any], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    refused(user(tmp_path, model, **sections), capsys, *words)


def test_one_for_another_intensity_scale_is_refused_with_both(tmp_path: Path, model: Path) -> None:
    scale = Model.load(model).document["calibration"]["scale"]
    config = user(tmp_path, model, image=(IMAGE / np.float32(1000)).astype(np.float32))
    with pytest.raises(StoppedError, match="intensity scale") as stopped:
        run(config_of(config))
    assert f"{scale:.4g}" in str(stopped.value)
    assert f"this one has {scale / 1000:.2g}" in str(stopped.value)
    assert not records(config, "solve")
    complete(user(tmp_path / "dimmer", model, image=IMAGE // 2))  # a dimmer sample of the same microscope


@pytest.mark.parametrize("harm", [pytest.param("cut", marks=pytest.mark.long), "changed", "gone"])
@pytest.mark.parametrize("given", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_kept_network_that_is_damaged_between_calls_is_noticed(
    tmp_path: Path, model: Path, harm: str, given: bool
) -> None:
    config = user(tmp_path, model) if given else make_run(tmp_path, IMAGE, solver="ssi", **SHARED)
    good = hashes(complete(config))
    kept = config_of(config).state_path / "models" / "shared-c0.pt"
    content = kept.read_bytes()
    if harm == "gone":
        kept.unlink()
    else:
        kept.write_bytes(content[:-50] if harm == "cut" else content[:500] + b"\1" + content[501:])
    image_files(tmp_path / "out.zarr")[0].unlink()
    assert hashes(complete(config)) == good


def test_a_plan_imports_torch_for_no_other_configuration(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE, psf=GAUSSIAN, executor=SERIAL)
    code = (
        "import sys; from ssi_pipeline.cli import main; main(['plan', sys.argv[1]]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(config)], check=True)
