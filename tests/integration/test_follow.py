"""`ssi run --follow`: real files that grow, calls that end in the middle, the bytes of a run on the finished data."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from builders import beads, complete, config_of, contents, hashes, level, make_run, records
from numpy.typing import NDArray
from plates import write_image

from ssi_pipeline.cli import main
from ssi_pipeline.errors import ConfigError, InputError, MissingStateError, OutputError, RunChangedError, StoppedError
from ssi_pipeline.results.snapshot import Snapshot
from ssi_pipeline.results.status import describe_status, read_status
from ssi_pipeline.run import follow, run, verify
from ssi_pipeline.run.checks.verify_input import verify_input
from ssi_pipeline.run.growth.checks import refuse_unfollowable
from ssi_pipeline.run.growth.drift import Drift
from ssi_pipeline.run.growth.grow import grow
from ssi_pipeline.run.session import Caller
from ssi_pipeline.storage.state.ledger import Ledger
from ssi_pipeline.storage.state.records import Job, TaskRecord
from ssi_pipeline.tasks.opening import open_context, refuse_later_jobs

FRAMES = 3
SIDE = 40
SCORED = {"solver": "ssi", "quality": {"extended": True}}
RULE = {"frames": 1, "complete": "settled", "settle_s": 0.02, "idle_s": 60, "stop_file": "stop"}


class Killed(BaseException):
    """Ends a call in the middle; nothing handles it."""


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint16]:
    """Time points (t z y x)."""
    return beads((FRAMES, 2, SIDE, SIDE))


def write_planes(folder: Path, image: NDArray[Any], ts: Sequence[int]) -> None:
    """Write time points as files of single planes."""
    folder.mkdir(exist_ok=True)
    for t in ts:
        for z, plane in enumerate(image[t]):
            tifffile.imwrite(folder / f"s_T{t:03}_Z{z}.tif", plane)


def case(folder: Path, path: str, **sections: Any) -> Path:
    """A configuration for time points that settle at once; several tiles are blended, and one of a pyramid's levels."""
    plain = {
        "solver": "wiener",
        "quality": {"extended": False},
        "tiling": {"core": {"y": 20, "x": 40}, "blend": 4},
        "output": {},
    }
    return make_run(folder, None, **{**plain, "input": {"path": path}, "follow": RULE, **sections})


def reference(folder: Path, image: NDArray[Any], followed: Path) -> dict[str, str]:
    """Digests of an ordinary run on finished data, with the calibration of a followed run."""
    document = yaml.safe_load(followed.read_text())
    kept = {key: document[key] for key in ("solver", "tiling", "output", "quality")}
    given = {"calibration": str(config_of(followed).state_path)}
    return hashes(complete(make_run(folder, image, "tzyx", **kept, sensor=given)))


def test_a_folder_that_fills(tmp_path: Path, image: NDArray[Any]) -> None:
    """The first call sees two time points, one by one, and is killed; the second one sees the third."""
    config = case(tmp_path, "raw/s_T{t}_Z{z}.tif")
    write_planes(tmp_path / "raw", image, [0])

    def second_then_killed(seen: Snapshot) -> None:
        """Write a time point while the run waits for it; end the call while it waits for the next."""
        if seen.stage == "waiting for time point 1":
            write_planes(tmp_path / "raw", image, [1])
        elif seen.stage == "waiting for time point 2":
            raise Killed

    with pytest.raises(Killed):
        follow(config_of(config), caller=Caller(progress=second_then_killed))
    assert level(tmp_path / "out.zarr").shape == (2, 2, SIDE, SIDE)
    assert dict(describe_status(read_status(config_of(config))))["time points"].endswith("not followed now")
    # as if it was killed between the arrays and the run's document
    zarr.open_array(tmp_path / "out.zarr" / "0", mode="r+").resize(image.shape)
    write_planes(tmp_path / "raw", image, [2])
    tifffile.imwrite(tmp_path / "raw" / f"s_T{FRAMES:03}_Z0.tif", image[0, 0])  # the writer ended within this one
    (tmp_path / "stop").touch()
    outcome = follow(config_of(config))
    assert outcome.complete
    assert outcome.computed_tiles == outcome.tiles // FRAMES
    assert hashes(tmp_path / "out.zarr") == reference(tmp_path / "finished", image, config)
    assert verify(config_of(config)).good
    status = read_status(config_of(config))
    seen = status.following
    assert seen is not None
    assert (seen.frames, status.frames_written, status.finished) == (FRAMES, FRAMES, True)
    rows = dict(describe_status(status))
    assert rows["time points"].startswith(f"{FRAMES} complete, {FRAMES} written; the last came")
    assert "stop exists" in rows["time points"]
    assert rows["left out"].startswith(f"time point {FRAMES}: 1 files are missing")

    # the places of the calibration are those of before: a file that was only touched is no change
    os.utime(tmp_path / "raw" / "s_T000_Z0.tif")
    assert verify_input(config_of(config)).changed == []

    # nothing new: nothing is written
    before = contents(tmp_path / "out.zarr")
    assert follow(config_of(config)).computed_tiles == 0
    assert contents(tmp_path / "out.zarr") == before

    # an ordinary run would not be the same one
    (tmp_path / "raw" / f"s_T{FRAMES:03}_Z0.tif").unlink()
    with pytest.raises(RunChangedError, match="was started with --follow"):
        run(config_of(config))


def test_a_time_point_that_changes_after_it_was_processed(tmp_path: Path, image: NDArray[Any]) -> None:
    config = case(tmp_path, "raw/s_T{t}_Z{z}.tif", solver="identity")
    write_planes(tmp_path / "raw", image, range(2))

    def change_one(seen: Snapshot) -> None:
        """Change a time point that was taken too early, and add one."""
        if seen.stage == "waiting for time point 2":
            write_planes(tmp_path / "raw", image[[0, 0]], [1])
            write_planes(tmp_path / "raw", image, [2])

    for error, caller in ((StoppedError, Caller(progress=change_one)), (RunChangedError, Caller())):
        with pytest.raises(error, match=r"(?s)has changed since .*tile \d+: t 1, c 0"):
            follow(config_of(config), caller=caller)
        assert level(tmp_path / "out.zarr").shape == (2, 2, SIDE, SIDE)


def test_a_zarr_whose_length_grows(tmp_path: Path) -> None:
    """The image has two levels, of which the coarser one is written again at each end."""
    image = beads((4, 1, 260, 16))
    config = case(tmp_path, "in.zarr", output={"ome_zarr": "0.4"}, solver="identity", tiling={"core": 130})
    array = zarr.create_array(
        tmp_path / "in.zarr", shape=(2, *image.shape[1:]), chunks=(1, 1, 64, 64), dtype="uint16", dimension_names="tzyx"
    )
    array[:] = image[:2]
    (tmp_path / "stop").touch()
    assert follow(config_of(config)).complete
    array.resize(image.shape)
    array[2:] = image[2:]
    assert follow(config_of(config)).complete
    found = hashes(tmp_path / "out.zarr")
    assert {name[0] for name in found} == {"0", "1"}
    assert found == reference(tmp_path / "finished", image, config)
    assert len(records(config, "calibrate")) == 1
    assert drift(config, (1.0, 1.02, 0.98, 1.01)) == []
    assert [line[:40] for line in drift(config, (1.0, 1.3, 1.0, 0.7))] == [
        "drift: channel 0: chi2 is 1.30 at time p",
        "channel 0: at time point 2 the noise is ",
        "drift: channel 0: chi2 is 0.70 at time p",
    ]
    refuse_later_jobs(open_context(config_of(config)), [Job("pyramid", 0, frames=4), Job("solve", 0)])
    with pytest.raises(MissingStateError):  # of a larger plan, in which it is another block
        refuse_later_jobs(open_context(config_of(config)), [Job("pyramid", 0, frames=5)])
    session: Any = SimpleNamespace(context=open_context(config_of(config)))
    array.resize((3, *image.shape[1:]))  # as a worker on another machine may still see it
    with pytest.raises(MissingStateError, match=r"an earlier one on this machine: .* has 3 time points"):
        refuse_later_jobs(open_context(config_of(config)), [Job("solve", 0)])
    array.resize((4, *image.shape[1:3], 18))
    with pytest.raises(RunChangedError, match=r"260, 18\) of uint16: expected \(4, 1, 1, 260, 16\) of uint16"):
        grow(session, 4)
    array.resize((1, *image.shape[1:]))
    with pytest.raises(RunChangedError, match="has 1 time points: expected the 4"):
        follow(config_of(config))


def test_labels_and_tables_come_along_at_each_end(tmp_path: Path) -> None:
    """Labels may be longer than what was taken of the image; shorter ones are waited for by the next call."""
    image, nuclei = beads((4, 16, 16)), np.arange(4 * 16 * 16, dtype=np.int32).reshape(4, 16, 16)
    write_image(tmp_path / "in.zarr", image[:2], "tyx")
    write_image(tmp_path / "in.zarr/labels/nuclei", nuclei[:3], "tyx")
    zarr.open_group(tmp_path / "in.zarr/labels", mode="a").attrs["ome"] = {"version": "0.5", "labels": ["nuclei"]}
    zarr.create_group(tmp_path / "in.zarr/tables", attributes={"tables": ["areas"]}).create_group("areas")
    asked = {"solver": "identity", "output": {"carry": ["labels", "tables"]}}
    config = case(tmp_path, "in.zarr", psf={"kind": "identity"}, **asked)
    (tmp_path / "stop").touch()
    assert follow(config_of(config)).complete
    copy, table = tmp_path / "out.zarr/labels/nuclei", tmp_path / "in.zarr/tables/areas/zarr.json"
    np.testing.assert_array_equal(level(copy), nuclei[:2])
    for array, values in (("0", image), ("labels/nuclei/0", nuclei)):
        grown = zarr.open_array(tmp_path / "in.zarr" / array, mode="r+")
        grown.resize(values.shape)
        grown[:] = values
    table.write_text(table.read_text().replace("{}", '{"rows": 4}'))
    labels = zarr.open_array(tmp_path / "in.zarr/labels/nuclei/0", mode="r+")
    labels.resize((3, 16, 16))
    with pytest.raises(StoppedError, match="label image nuclei has 3 time points, and the image 4"):
        follow(config_of(config))
    assert any("was copied before the output grew" in line for line in verify(config_of(config)).damage)
    labels.resize(nuclei.shape)
    labels[3] = nuclei[3]
    assert follow(config_of(config)).complete
    np.testing.assert_array_equal(level(copy), nuclei)
    assert contents(tmp_path / "out.zarr/tables") == contents(tmp_path / "in.zarr/tables")
    assert verify(config_of(config)).good


def drift(config: Path, chi2: Sequence[float]) -> list[str]:
    """What is said of tiles of two to a time point, of this chi2 by time point; the records are added to the ledger."""
    context = open_context(config_of(config))
    with Ledger(context.paths.ledger) as ledger:
        for t, value in enumerate(chi2):
            for k in (0, 1):
                ledger.append(TaskRecord("solve", 2 * t + k, "done", quality={"chi2": value + 0.01 * k - 0.005}))
    return list(Drift(context).look(context))


def test_too_few_time_points(tmp_path: Path, image: NDArray[Any], capsys: pytest.CaptureFixture[str]) -> None:
    config = case(tmp_path, "raw/s_T{t}_Z{z}.tif", follow={**RULE, "frames": 2})
    write_planes(tmp_path / "raw", image, [0])
    (tmp_path / "stop").touch()
    before = contents(tmp_path)
    with pytest.raises(InputError, match="stop exists, and 1 of the 2 time points that the"):
        follow(config_of(config))
    assert contents(tmp_path) == before
    assert "of the first 2 time points are complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"input": {"path": "plate.zarr", "images": "*"}}, "remove input.images"),
        ({"output": {"path": "s3://bucket/out.zarr", "state": "state"}}, "extends an output in a folder"),
        ({"input": {"path": "in.zarr", "roi": {"t": [0, 2]}}}, "remove input.roi.t"),
        ({"solver": "ssi", "training": {"scope": "shared"}}, "scope: shared trains on tiles of all time points"),
        ({"solver": "ssi", "training": {"scope": "fine_tune"}}, "scope: fine_tune trains"),
        ({"training": {"retrain": True}, **SCORED}, "training.retrain compares"),
        ({"solver": "ssi", "network": {"context": {"t": 1}}}, "network.context.t looks at the time point after"),
    ],
)
def test_options_that_need_all_time_points(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    config = case(tmp_path, "in.zarr", **sections)
    with pytest.raises(ConfigError, match=message):
        refuse_unfollowable(config_of(config))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"input": {"path": "in.zarr", "mask": "no.tif"}}, r"input\.mask: .*no\.tif not found"),
        ({"psf": {"kind": "file", "path": "no.tif"}}, r"psf\.path: .*no\.tif not found"),
        ({"output": {"path": "mine"}}, "mine exists and was not written by ssi"),
        ({"output": {"path": "in.zarr/out.zarr"}}, "overlap"),
    ],
)
def test_what_is_known_to_fail_is_not_waited_for(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises((InputError, OutputError), match=message):
        follow(config_of(case(tmp_path, "in.zarr", **sections)))


def test_follow_excludes_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = case(tmp_path, "in.zarr")
    assert main(["run", str(config), "--follow", "--part", "1/2"]) != 0
    assert "--follow excludes --part and --finish" in capsys.readouterr().err


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
folder, image = Path(sys.argv[1]), np.load(sys.argv[2])
folder.mkdir(exist_ok=True)
for t, frame in enumerate(image):
    for z, plane in enumerate(frame):
        file = folder / f"s_T{t:03}_Z{z}.npy"
        if t + 1 < len(image) and (folder / f"s_T{t + 1:03}_Z0.npy").exists():
            continue  # written by an earlier call
        with file.open("wb") as stream:  # in place and slowly, as some microscopes do
            np.save(stream, plane[:0])
            stream.flush()
            time.sleep(0.05)
            stream.seek(0)
            np.save(stream, plane)
    time.sleep(2)
"""


BEGUN, KILLS = 2, 2
"""The writer is killed within this time point; kills of the follower."""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_writer_and_follower_are_killed(tmp_path: Path) -> None:
    """The writer is killed within a time point and started again; the follower is killed again and again."""
    image = beads((10, 2, SIDE, SIDE))
    np.save(tmp_path / "image.npy", image)
    rule = {"frames": 1, "settle_s": 3.0, "idle_s": 600, "stop_file": "stop"}
    config = case(tmp_path, "raw/s_T{t}_Z{z}.npy", follow=rule, executor={"kind": "dask", "workers": 1})
    chance = random.Random(0)

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "words.txt").open("ab") as words_file:
            return subprocess.Popen([sys.executable, *words], stderr=words_file, start_new_session=True)

    def writer() -> subprocess.Popen[bytes]:
        return start("-c", WRITER, str(tmp_path / "raw"), str(tmp_path / "image.npy"))

    def follower() -> subprocess.Popen[bytes]:
        return start("-m", "ssi_pipeline", "run", "--follow", str(config))

    writing, following = writer(), follower()
    while not (tmp_path / "raw").exists() or len(list((tmp_path / "raw").iterdir())) < 2 * BEGUN - 1:
        time.sleep(0.01)
    writing.kill()
    writing.wait()
    assert len(list((tmp_path / "raw").iterdir())) < image.shape[0] * image.shape[1]
    writing = writer()
    for _ in range(KILLS):
        wanted = len(solved(config)) + chance.randrange(1, 8)  # far fewer than there are before the end
        while len(solved(config)) < wanted and following.poll() is None:
            time.sleep(0.1)
        os.killpg(following.pid, signal.SIGKILL)
        following.wait()
        following = follower()
    assert writing.wait(300) == 0
    (tmp_path / "stop").touch()
    assert following.wait(900) == 0, (tmp_path / "words.txt").read_text()
    assert verify(config_of(config)).good
    assert hashes(tmp_path / "out.zarr") == reference(tmp_path / "finished", image, config)


def solved(config: Path) -> list[int]:
    """Return the tiles that were solved so far."""
    if not (config_of(config).state_path / "ledger.jsonl").exists():
        return []
    return [record.index for record in records(config, "solve")]
