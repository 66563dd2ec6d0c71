"""`ssi benchmark` from the command to the tables: resume, early refusals, and isolation of failed rows."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from skimage.io import imsave

from ssi_pipeline.benchmark.images import find_images, read_truth
from ssi_pipeline.cli import main

SMALL = {
    "training.steps": 2,
    "training.attempts": 1,
    "training.patch": 32,
    "training.batch": 1,
    "network.width": 4,
    "network.levels": 2,
    "published.steps": 2,
}
STEPS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


def write_images(folder: Path, side: int = 48) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    grey = (255 * rng.random((side, side + 3))).astype(np.uint8)
    imsave(folder / "one.png", grey, check_contrast=False)
    imsave(folder / "two.tif", np.stack([grey, grey // 2, grey // 3], axis=-1), check_contrast=False)
    return folder


def command(tmp_path: Path, *more: str, methods: str = "blurry,input,lr5") -> list[str]:
    images = tmp_path / "images"
    if not images.exists():
        write_images(images)
    output = str(tmp_path / "out")
    return ["benchmark", "--images", str(images), "--output", output, "--methods", methods, *more]


@pytest.mark.long
def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = "blurry,input,lr5,ssi,ssi_published"
    assert main(command(tmp_path, "--seeds", "0,1", *STEPS, methods=methods)) == 0
    said = capsys.readouterr()
    assert "14 rows: 2 images" in said.out  # 3 methods once, 2 with two seeds
    assert "Quality, mean over images" in said.out
    assert "training" in said.out
    assert "14/14" in said.err
    out = tmp_path / "out"
    with (out / "rows.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 14
    assert len(json.loads((out / "rows.json").read_text())) == 14
    assert all(float(line["psnr"]) > 0 for line in table)
    assert all(float(line["training_seconds"]) > 0 for line in table if line["method"] == "ssi_published")
    assert {line["steps"] for line in table if line["method"] == "ssi_published"} == {"2"}
    assert {line["used"] for line in table if line["method"] == "ssi_published"} == {"published"}
    assert len({line["psnr"] for line in table if line["method"] == "ssi_published" and line["image"] == "one"}) == 2
    estimate = np.load(out / "estimates" / "one.ssi_published.1.npy")
    assert estimate.shape == (48, 51)
    assert estimate.dtype == np.float32
    assert "Spread over seeds" in (out / "summary.md").read_text()
    for name in ("one.png", "two.png", "trade-off.png"):
        assert (out / "figures" / name).stat().st_size > 10_000


@pytest.mark.long
def test_what_is_there_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    rows = tmp_path / "out" / "rows"
    kept = {p.name: p.stat().st_mtime_ns for p in rows.iterdir()}
    (rows / "one.lr5.json").unlink()
    (tmp_path / "out" / "estimates" / "two.input.npy").unlink()
    capsys.readouterr()
    assert main(command(tmp_path)) == 0
    said = capsys.readouterr()
    assert "resuming: 4 of 6 rows are done" in said.err
    changed = {p.name for p in rows.iterdir() if p.stat().st_mtime_ns != kept.get(p.name)}
    assert changed == {"one.lr5.json", "two.input.json"}


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@contextmanager
def under_way(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Yield a benchmark in a session of its own that has made six rows, whose last two never end, and its processes."""
    arguments = command(tmp_path, "--set", "published.steps=100000", methods="blurry,input,lr5,ssi_published")
    process = subprocess.Popen(
        [sys.executable, "-m", "ssi_pipeline.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    processes: list[psutil.Process] = []
    try:
        patience = time.monotonic() + 240
        while len(stamps(tmp_path)) < 6:
            assert process.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.2)
        processes = children(process)
        yield process, processes
    finally:
        for each in [process, *processes]:
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                each.kill()
        process.communicate()


def stamps(tmp_path: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "rows").glob("*.json")}


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    with under_way(tmp_path) as (process, workers):
        process.kill()
        process.wait()
        assert workers
        _, lingering = psutil.wait_procs(workers, timeout=60)
        assert not lingering
        kept = stamps(tmp_path)
    assert len(kept) == 6
    assert main(command(tmp_path)) == 0
    assert stamps(tmp_path) == kept


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_the_user(tmp_path: Path, number: signal.Signals) -> None:
    with under_way(tmp_path) as (process, workers):
        kept = stamps(tmp_path)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal sends it to all processes of the job
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "run the same command again to resume" in said
        assert "Traceback" not in said
        _, lingering = psutil.wait_procs(workers, timeout=10)
        assert not lingering
        assert stamps(tmp_path) == kept


@pytest.mark.long
@pytest.mark.slow
def test_a_worker_that_dies_costs_its_row_alone(tmp_path: Path) -> None:
    with under_way(tmp_path) as (process, workers):
        [worker] = [w for w in workers if "spawn_main" in " ".join(w.cmdline())]
        worker.kill()
        patience = time.monotonic() + 120
        while not [w for w in children(process) if w.pid != worker.pid and "spawn_main" in " ".join(w.cmdline())]:
            assert time.monotonic() < patience  # the next row has a worker again
            time.sleep(0.2)
        process.terminate()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "one ssi_published: a worker process died" in said


@pytest.mark.long
def test_rows_of_another_set_up_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 0
    assert main(command(tmp_path, "--crop", "40")) == 2
    said = capsys.readouterr().err
    assert "rows of another set-up" in said
    assert "(crop, image)" in said
    assert "another --output" in said
    # an option of solvers is none of these methods' business
    assert main(command(tmp_path, "--set", "training.steps=9")) == 0


@pytest.mark.long
def test_a_row_that_fails_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, methods="blurry")) == 0
    (tmp_path / "out" / "estimates" / "one.input.npy").mkdir()  # cannot be replaced by a file
    assert main(command(tmp_path)) == 1
    said = capsys.readouterr().out
    assert "failed: one, input, seed 0: IsADirectoryError" in said
    assert json.loads((tmp_path / "out" / "rows" / "two.lr5.json").read_text())["error"] == ""
    assert "Failed rows" in (tmp_path / "out" / "summary.md").read_text()
    (tmp_path / "out" / "estimates" / "one.input.npy").rmdir()
    assert main(command(tmp_path)) == 0  # it is tried again


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--methods", "weiner"], "did you mean wiener"),
        (["--images", "nowhere"], "is not a folder"),
        (["--seeds", "0,0"], "distinct integers"),
        (["--seeds", "x"], "distinct integers"),
        (["--crop", "12"], "fewer than the PSF"),
        (["--crop", "20", "--methods", "ssi_published"], "needs 32"),
        (["--set", "training.steps=none"], "training.steps"),
        (["--set", "seed=1"], "the benchmark sets this option"),
        (["--psf", "missing.npy"], "missing.npy"),
        (["--psf", __file__], "--psf: expected one non-negative plane"),
        (["--output", __file__], "is a file"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    tmp_path: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, *more)) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [("--workers", "0"), ("--crop", "-1")])
def test_numbers_out_of_range_are_refused_by_the_parser(
    tmp_path: Path, more: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, *more))
    assert ended.value.code == 2
    assert f"found '{more[1]}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path / "images")
    bad = images / "bad.png"
    constant = np.zeros((40, 40), np.uint8)
    cases = (b"no image", "cannot be read"), (constant, "is constant"), (None, "several images named")
    for content, says in cases:
        if isinstance(content, bytes):
            bad.write_bytes(content)
        elif content is not None:
            imsave(bad, content, check_contrast=False)
        else:
            bad.unlink()
            imsave(images / "one.tif", np.eye(40, dtype=np.uint8), check_contrast=False)
        assert main(command(tmp_path)) == 2
        assert says in capsys.readouterr().err


@pytest.mark.long
def test_a_psf_of_ones_own_changes_the_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "psf.npy", np.outer([1, 2, 1], [1, 2, 1]) / 16)
    assert main(command(tmp_path, "--psf", str(tmp_path / "psf.npy"), methods="blurry")) == 0
    mild = json.loads((tmp_path / "out" / "rows" / "one.blurry.json").read_text())["metrics"]["psnr"]
    assert main([*command(tmp_path, methods="blurry"), "--output", str(tmp_path / "other")]) == 0
    strong = json.loads((tmp_path / "other" / "rows" / "one.blurry.json").read_text())["metrics"]["psnr"]
    assert mild > strong + 1


def test_images_of_scikit_image_need_no_download() -> None:
    paths = find_images(None)
    assert len(paths) == 6
    assert all(p.is_file() for p in paths)
    for path in paths:
        truth = read_truth(path, 100)
        assert truth.shape == (100, 100)
        assert (truth.min(), truth.max()) == (0, 1)


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 255, (40, 50, 3), np.uint8)
    imsave(tmp_path / "c.png", colour, check_contrast=False)
    grey = colour @ np.array([0.2125, 0.7154, 0.0721])
    expected = (grey - grey.min()) / (grey.max() - grey.min())
    np.testing.assert_allclose(read_truth(tmp_path / "c.png", None), expected, atol=1e-5)
