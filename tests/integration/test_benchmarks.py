"""The studies in benchmarks/ run from the command to the table, and resume."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import blank
import calibration
import denoise
import false_alarms
import fuzz_config
import fuzz_files
import gpu_check
import light_sheet
import numpy as np
import pytest
import scale
import score
import stacks
import structure
import tifffile
import time_to_quality
import two_clients
import uncertainty
import varying_psf
import volume
import widefield

pytestmark = pytest.mark.slow


def rows(folder: Path) -> dict[str, dict[str, object]]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "rows").iterdir()}


@pytest.mark.long
def test_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--short", "--output", str(tmp_path)]
    calibration.main(arguments)
    found = rows(tmp_path)
    assert set(found) == {f"camera.{solver}" for solver in ("wiener", "richardson_lucy", "tv", "tv_cg")}
    for row in found.values():
        assert row["best_psnr"] == max(level for _, level in row["curve"])
        assert all(choice["loss_db"] >= 0 for choice in row["choices"].values())
    assert set(found["camera.wiener"]["choices"]) == {"masked loss", "likelihood"}
    for solver in ("wiener", "tv", "tv_cg"):
        assert len(found[f"camera.{solver}"]["curve"]) >= 13
    assert (tmp_path / "calibration.png").stat().st_size > 5_000
    capsys.readouterr()
    calibration.main(arguments)
    assert capsys.readouterr().out.count(": there") == 4


@pytest.mark.long
def test_time_to_quality(tmp_path: Path) -> None:
    time_to_quality.main(["--short", "--output", str(tmp_path)])
    found = rows(tmp_path)
    ours, published = found["camera.ssi"], found["camera.ssi_published"]
    assert [point[0] for point in published["curve"]] == [1, 2, 2]  # each step, and what is returned
    # before training (the linear solution), at the last step, and what is returned; a validation is every 50 steps
    assert [point[0] for point in ours["curve"]] == [0, 2, 2]
    for row in (ours, published):
        assert row["psnr"] == row["curve"][-1][3]
        seconds = [point[1] for point in row["curve"]]
        assert seconds == sorted(seconds)
        assert seconds[0] > 0
    assert "camera" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "time_to_quality.png").stat().st_size > 5_000


@pytest.mark.parametrize("noise", ["full", "gaussian"])
def test_denoise(tmp_path: Path, noise: str) -> None:
    pytest.importorskip("pywt", reason="PyWavelets, of the extra dev, is not installed")
    denoise.main(["--short", "--noise", noise, "--output", str(tmp_path)])
    found = {name: values for row in rows(tmp_path).values() for name, values in row["results"].items()}
    assert set(found) == {
        "input",
        "ours",
        *(name + kind for name in denoise.DENOISERS for kind in ("", ", J-invariant")),
    }
    for name in set(found) - {"input", "ours"}:  # two steps of training restore nothing
        assert found[name]["psnr"] > found["input"]["psnr"]
    assert f"{noise} noise" in (tmp_path / "summary.md").read_text()


@pytest.mark.long
def test_widefield(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tv_chambolle_pock", "tv_conjugate_gradient"):
        monkeypatch.setattr(f"ssi_pipeline.inversion.classical.{module}.TV_ITERATIONS", 20)
    small = tmp_path / "workflow.yaml"  # a PSF of few voxels, as the stack has few planes
    small.write_text(widefield.WORKFLOW.read_text().replace("energy: 0.98", "support_um: {z: 0.9, y: 0.7, x: 0.7}"))
    monkeypatch.setattr(widefield, "WORKFLOW", small)
    stack, output = tmp_path / "stack.tif", tmp_path / "out"
    tifffile.imwrite(stack, widefield.simulated())
    widefield.main(["--short", "--stack", str(stack), "--output", str(output)])
    found = rows(output)
    assert set(found) == {f"{solver}.0" for solver in widefield.SOLVERS}
    for row in found.values():
        assert 0 < row["loss"] < 1
        assert row["loss"] != row["heldout"]
        # twenty iterations of TV on a small stack leave 13 %; with the padding, five times its volume, far more
        assert row["flux_ratio"] == pytest.approx(1, abs=0.3)
    # two steps train nothing: ours falls back to the linear solution, maybe with the weight of one of the others
    assert len({row["loss"] for name, row in found.items() if name != "ssi.0"}) == len(widefield.SOLVERS) - 1
    tifffile.imwrite(stack, np.flip(widefield.simulated()))
    with pytest.raises(SystemExit, match="is of other stack"):
        widefield.main(["--short", "--stack", str(stack), "--output", str(output)])


def test_volume(tmp_path: Path) -> None:
    volume.main(["--short", "--output", str(tmp_path)])
    found = rows(tmp_path)
    assert set(found) == {f"nuclei_dim.{name}" for name in ("references", "wiener", "shared.2")}
    shared = found["nuclei_dim.shared.2"]["shared"]
    assert shared["methods"] == {"network": 4}
    assert (
        min(shared["psnr"], found["nuclei_dim.references"]["richardson_lucy"]) > found["nuclei_dim.references"]["input"]
    )
    assert shared["before"] > 0
    assert "4 of 4" in (tmp_path / "summary.md").read_text()


@pytest.mark.long
def test_score(tmp_path: Path) -> None:
    score.main(["--short", "--output", str(tmp_path)])
    (row,) = rows(tmp_path).values()
    candidates = row["candidates"]
    assert len(candidates) >= 20
    for candidate in candidates:
        assert {"psnr", "heldout_excess", "whiteness", "r2r_risk", "chi2"} <= set(candidate)
    for names in score.PICKERS.values():
        correlation, loss = score.judged(candidates, names)
        assert -1 <= correlation <= 1
        assert loss >= 0
    assert "Spearman" in (tmp_path / "summary.md").read_text()


@pytest.mark.long
def test_uncertainty(tmp_path: Path) -> None:
    uncertainty.main(["--short", "--output", str(tmp_path)])
    (row,) = rows(tmp_path).values()
    for kind in ("map", "disagreement"):
        shares = row[kind]["exceeding"]
        assert len(shares) == len(uncertainty.CURVE)
        assert shares == sorted(shares, reverse=True)  # a larger map is exceeded less
    assert uncertainty.share(row, "map", 3) <= uncertainty.share(row, "disagreement", 3)
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


@pytest.mark.parametrize("study", [blank, false_alarms])
def test_the_short_forms_of_what_is_measured_of_alarms(
    study: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # of planes one size is enough here
    monkeypatch.setattr(blank, "SHAPES", {size: blank.SHAPES[size] for size in ("128 x 128", "24 x 64 x 64")})
    study.main(["--short", "--output", str(tmp_path)])
    assert "|" in capsys.readouterr().out


@pytest.mark.long
def test_two_clients_at_one_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert two_clients.run(["--short"]) == 0, capsys.readouterr().out
    assert "4 starts of two clients, 0 things wrong" in capsys.readouterr().out


def test_what_two_clients_may_not_do() -> None:
    combination = two_clients.Combination("c", (0, ()), (1, ()))
    good = "another run works on this output (process 7 on a)"
    assert two_clients.judge(combination, [0, 2], ["", good]) == []
    assert "refused" in two_clients.judge(combination, [0, 0], ["", ""])[0]
    assert "refused" in two_clients.judge(combination, [2, 2], [good, good])[0]
    assert "without a known reason" in two_clients.judge(combination, [2, 0], ["[Errno 39]", ""])[0]
    assert "ended with 1" in two_clients.judge(combination, [1, 2], ["", good])[0]
    assert two_clients.at_once([(0, 1), (1, 2)], [(1.5, 3)])
    assert not two_clients.at_once([(0, 1), (1, 2)], [(2, 3)])


def test_the_pick_of_two_trainings() -> None:
    good = {"name": "network 2", "psnr": 20.0, "heldout_excess": 1.0, "whiteness": 1.0, "r2r_risk": 1.0}
    bad = {**good, "psnr": 19.0, "heldout_excess": 2.0, "whiteness": 2.0, "r2r_risk": 0.5}
    (line, _) = score.of_two_trainings([{"candidates": [bad, good]}]).lines
    assert line[1:] == ["1 of 1", "0.00", "0.50", "0.00"]


def test_the_check_of_a_gpu(tmp_path: Path) -> None:
    found = gpu_check.main(["--short", "--device", "cpu", "--output", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert not [part for part in gpu_check.SHORT if "failed" in found[part]]
    assert found["waits"] == {"step": "none", "mask": "none"}
    assert found["step"]["float32"]["ms"] != found["step"]["bfloat16"]["ms"]


def test_a_part_of_the_check_of_a_gpu_may_fail_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: object) -> dict[str, object]:
        raise RuntimeError("CUDA error")

    monkeypatch.setitem(gpu_check.PARTS, "machine", fail)
    found = gpu_check.main(["--short", "--device", "cpu", "--only", "machine,memory"])
    assert found["machine"] == {"failed": "RuntimeError: CUDA error"}
    assert found["memory"] == {"left out": "needs a GPU"}


def test_structure() -> None:
    found = structure.main(["--short"])
    assert found["circles of imports, files in each"] == "0"
    assert found["copies of a configuration with other values, outside config/"] == "0"
    assert int(found["options"]) <= 98  # as in test_template.py
    frames, files = (int(n) for n in re.findall(r"\d+", found["frames from ssi run to the first convolution"]))
    assert files < frames < 25
    assert structure.circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == [2]


def test_scale_with_the_work_left_out() -> None:
    found = scale.measure(300, workers=1, blend=0, bare=True)
    assert found["complete"]
    assert found["ledger_records"] == 601  # tiles, their blocks, and the calibration
    assert found["ledger_mb"] > 0.2  # the records are as long as real ones
    assert found["status_command_peak_mb"] > 10


def test_mutated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_files.main(["--short", "--kinds", "TIFF", "--output", str(tmp_path)]) == 0
    assert fuzz_files.main(["--short", "--kinds", "PSF"]) == 0
    assert "| all |" in (tmp_path / "summary.md").read_text()
    assert capsys.readouterr().err == ""
    assert {kind.name.split(":")[0] for kind in fuzz_files.KINDS} == {"TIFF", "zarr", "PSF"}


def test_damaged_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    tally = fuzz_config.main(["--short", "--seed", "7"])
    assert tally.found == []
    assert sum(tally.ends.values()) == 100
    assert min(tally.ends["planned"], tally.ends["refused"]) >= 5
    assert "seed 7: 100 configurations" in capsys.readouterr().out


def test_stacks() -> None:
    """Beads in 3D: the residual is noise; under the light sheet they are found (34.9 dB), of 100 photons hardly."""
    for option, wrong in (("--solvers", "ssi:alon"), ("--optics", "lightsheet"), ("--contents", "nucleus")):
        with pytest.raises(SystemExit):
            stacks.main([option, wrong])
    rows = [dict(zip(stacks.HEADINGS, row, strict=True)) for row in stacks.main(["--short"])]
    assert all(0.8 < float(row["chi2"]) < 1.1 for row in rows)
    assert float(rows[1]["dB"]) > max(34, float(rows[0]["dB"]))


@pytest.mark.long
def test_light_sheet() -> None:
    """Two workers, each within what it may have; the estimate is nearer to the truth than the image."""
    found = light_sheet.main(["--short"])
    before, after = found["input_and_estimate_db"]["whole"]
    assert after > before + 1
    assert max(found["peak_mb_of_workers_and_their_origin"]) < 2000
    assert found["tiles"] == 2  # of 12 planes: in 16 the PSF would change by 27 %, more than the limit


@pytest.mark.long
def test_varying_psf() -> None:
    """Planes with the PSF of their depth are better than with the best single one, chosen by the truth."""
    (row,) = varying_psf.main(["--short"])
    assert row.varying.decibel > row.single


# --- all of them

IN_OTHER_TESTS = {
    *("faults", "kill"),  # test_faults.py, test_kill.py
    *("netfs", "bare"),  # tests/netfs; what overhead and scale load into their workers
}

STUDIES = sorted(
    path.stem
    for path in Path(blank.__file__).parent.glob("[!_]*.py")
    if path.stem not in IN_OTHER_TESTS | globals().keys()
)
"""Those that no test above runs."""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("study", STUDIES)
def test_the_short_form_ends_well(study: str, tmp_path: Path) -> None:
    """What `make bench` runs: a study that nobody runs for months goes wrong with the code that it calls."""
    file = Path(blank.__file__).with_name(f"{study}.py")
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(file), "--short"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
