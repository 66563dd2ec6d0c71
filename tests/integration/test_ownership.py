"""Files of the user are neither replaced nor removed, and an output has one writer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from builders import beads, complete, config_of, contents, go, hashes, make_run, ramp

import ssi_pipeline.run.writer as writer
from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config
from ssi_pipeline.demo.demo import prepare_demo
from ssi_pipeline.errors import LockedError, LockLostError, OutputError, RunChangedError
from ssi_pipeline.run import finish_parts, run_part, verify
from ssi_pipeline.storage.outputs.output import OWNER, read_token
from ssi_pipeline.storage.outputs.output_lock import output_lease
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.made import LIST
from ssi_pipeline.storage.state.marker import MARKER, claim_state_folder, read_marker
from ssi_pipeline.storage.state.parts import Part
from ssi_pipeline.tasks.opening import open_context

IMAGE = ramp((1, 40, 40))


def change(path: Path, **sections: Any) -> None:
    document = yaml.safe_load(path.read_text())
    for key, value in sections.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(document))


def edit_ours(output: Path, **changes: Any) -> None:
    """Change what an output says of itself; None takes a key away."""
    attributes: Any = zarr.open_group(output, mode="r+").attrs
    ours = {**attributes[OWNER], **changes}
    attributes[OWNER] = {key: value for key, value in ours.items() if value is not None}


def refused(config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Run a command that is refused and must leave everything as it is; returns what it says."""
    before = contents(config.parent)
    for command in (["plan"], ["run"], ["run", "--new"], ["run", "--part", "1/2"]):
        if command == ["plan"] or not options:
            assert main([*command, str(config)]) == 2, command
            message = capsys.readouterr().err
            assert message.startswith("ssi: ")
            assert contents(config.parent) == before, command
    return message


# --- the state folder


@pytest.mark.parametrize(
    "names", [("psf-c0.npy",), ("lock",), ("run.json",), ("models", "report.html"), (".hidden",), ("ledger.jsonl",)]
)
def test_a_folder_of_the_user_is_no_state_folder(
    tmp_path: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, IMAGE, output={"state": "mypsfs"}, solver="wiener")
    (tmp_path / "mypsfs").mkdir()
    for name in names:
        (tmp_path / "mypsfs" / name).write_text('{"fingerprint": "mine"}')
    message = refused(config, capsys)
    assert f"it contains {names[0]}" in message
    assert MARKER in message
    assert "choose another output.state (a new or empty folder), or move it" in message


def test_a_file_is_no_state_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, IMAGE, output={"state": "notes.txt"})
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not a folder" in refused(config, capsys)


def test_the_marker_is_there_first_and_its_token_is_in_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path, IMAGE)
    state, real = config_of(config).state_path, writer.run_lock
    seen: list[list[str]] = []

    def looking(path: Path, *options: Any) -> Any:
        seen.append(sorted(p.name for p in state.iterdir()))
        return real(path, *options)

    monkeypatch.setattr(writer, "run_lock", looking)
    output = complete(config)
    assert seen == [[MARKER]]
    token = read_marker(state)
    assert token is not None
    assert read_token(output) == token
    complete(config)
    assert read_marker(state) == token


@pytest.mark.parametrize("made_by", ["user", "call"])
def test_an_output_that_cannot_be_made_takes_nothing_of_the_user_along(tmp_path: Path, made_by: str) -> None:
    config = make_run(tmp_path, IMAGE, output={"path": "/proc/ssi/out.zarr", "state": str(tmp_path / "state")})
    if made_by == "user":
        (tmp_path / "state").mkdir()
    before = contents(tmp_path)
    assert main(["run", "--ignore-disk", str(config)]) == 2
    assert contents(tmp_path) == before


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount needs rights that this process has not: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.name != "posix" or shutil.which("mount") is None, reason="no mount here")
@pytest.mark.parametrize("inodes", [pytest.param(n, marks=pytest.mark.long if n % 3 else ()) for n in range(3, 14)])
def test_a_disk_without_inodes_left(tmp_path: Path, inodes: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever the system refuses the next file: what was there stays, and what this call made goes."""
    small = tmp_path / "small"
    with mounted(small, "-t", "tmpfs", "-o", f"size=64m,nr_inodes={inodes}", "tmpfs"):
        (small / "psf.npy").write_bytes(b"mine")
        config = make_run(tmp_path / "case", IMAGE, output={"path": str(small / "out.zarr")})
        assert main(["run", str(config)]) in (2, 3)
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert (small / "psf.npy").read_bytes() == b"mine"
        if "cannot be" in message:  # made, or locked
            assert [p.name for p in small.iterdir()] == ["psf.npy"], message
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(small)], check=True)
        complete(config)
        assert {p.name for p in small.iterdir()} == {"psf.npy", "out.zarr", "out.zarr.run"}
        assert not list(small.rglob("*.partial"))


def test_a_run_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 40, 70)))
    output = complete(config)
    good, state = hashes(output), config_of(config).state_path
    (state / MARKER).unlink()
    edit_ours(output, token=None)
    assert read_token(output) is None
    shutil.rmtree(output / "0" / "c")
    assert hashes(complete(config)) == good
    assert read_marker(state) == read_token(output) is not None


@pytest.mark.parametrize("harm", ["gone", "empty", "torn"])
def test_a_lost_marker_is_made_again_with_the_token_of_the_output(tmp_path: Path, harm: str) -> None:
    config = make_run(tmp_path, IMAGE)
    output = complete(config)
    marker = config_of(config).state_path / MARKER
    token = read_marker(marker.parent)
    if harm == "gone":
        marker.unlink()
    else:
        marker.write_text("" if harm == "empty" else marker.read_text()[:-20])
    complete(config)
    assert read_marker(marker.parent) == read_token(output) == token


def test_an_output_of_another_run_is_refused_though_their_configurations_are_equal(tmp_path: Path) -> None:
    """Two runs of one configuration have one fingerprint; the digests of their blocks would fit as well."""
    configs = [make_run(tmp_path / name, IMAGE) for name in "ab"]
    for config in configs:
        complete(config)
    shutil.rmtree(tmp_path / "a" / "out.zarr")
    shutil.copytree(tmp_path / "b" / "out.zarr", tmp_path / "a" / "out.zarr")
    for act in (go, lambda path: verify(load_config(path)), lambda path: run_part(load_config(path), Part(2, 1))):
        with pytest.raises(OutputError, match=r"belongs to run .* set output\.state to that run's"):
            act(configs[0])
    assert go(configs[1]).complete


def test_output_and_state_may_move_together(tmp_path: Path) -> None:
    config = make_run(tmp_path / "a", IMAGE)
    good = hashes(complete(config))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / "run.yaml"
    assert hashes(complete(moved)) == good
    change(moved, output={"path": "c.zarr", "state": "elsewhere"})
    (tmp_path / "b" / "out.zarr").rename(tmp_path / "b" / "c.zarr")
    (tmp_path / "b" / "out.zarr.run").rename(tmp_path / "b" / "elsewhere")
    assert hashes(complete(moved)) == good


def test_a_worker_does_not_write_to_the_output_of_another_run(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE)
    output = complete(config)
    edit_ours(output, token="0" * 32)
    context = open_context(config_of(config))
    with pytest.raises(RunChangedError, match="now belongs to another run"):
        context.sink.read  # noqa: B018
    assert context.open_sinks(writable=False)


# --- places that overlap


def linked(folder: Path) -> dict[str, Any]:
    (folder / "link").symlink_to(folder / "in.zarr")
    return {"output": {"state": "link/state"}}


def models(folder: Path) -> dict[str, Any]:
    (folder / "models").mkdir()
    return {"solver": "ssi", "training": {"start_from": "models"}, "output": {"state": "models/run1"}}


PLACES: dict[str, tuple[dict[str, Any] | Callable[[Path], dict[str, Any]], str]] = {
    "the folder of everything": ({"output": {"state": "."}}, "output.state"),
    "state is the configuration": ({"output": {"state": "run.yaml"}}, "the configuration"),
    "output is the configuration": ({"output": {"path": "run.yaml"}}, "the configuration"),
    "state is the PSF": (
        {"psf": {"kind": "file", "path": "psf.npy"}, "output": {"state": "psf.npy"}},
        "psf",
    ),
    "state lies in the models": (models, "training.start_from"),
    "state lies in the input": ({"output": {"state": "in.zarr/state"}}, "input.path"),
    "state lies in the input by a link": (linked, "input.path"),
    "state holds the output": ({"output": {"path": "s/out.zarr", "state": "s"}}, "overlap"),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_that_overlap_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case, word = PLACES[name]
    config = make_run(tmp_path, IMAGE)
    np.save(tmp_path / "psf.npy", np.ones((3, 3), np.float32))
    sections = case(tmp_path) if callable(case) else case
    psf = sections.pop("psf", None)
    change(config, **sections)
    if psf:
        document = yaml.safe_load(config.read_text())
        config.write_text(yaml.safe_dump({**document, "psf": psf}))
        sections["psf"] = psf
    message = refused(config, capsys)
    assert "overlap" in message
    assert word in message


def test_a_configuration_or_a_psf_inside_a_state_folder_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The marker says that what lies there may be replaced: --new would carry the user's files away."""
    config = make_run(tmp_path, IMAGE)
    complete(config)
    state = config_of(config).state_path
    inside = state / "run.yaml"
    document = yaml.safe_load(config.read_text())
    document["input"]["path"], document["output"]["path"] = str(tmp_path / "in.zarr"), str(tmp_path / "out.zarr")
    inside.write_text(yaml.safe_dump(document))
    assert main(["run", "--new", str(inside)]) == 2
    assert "the configuration" in capsys.readouterr().err
    document["psf"] = {"kind": "file", "path": str(state / "psf-c0.npy")}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
    assert main(["run", "--new", str(tmp_path / "other.yaml")]) == 2
    assert "psf.path" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_a_state_folder_in_another_mount_of_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path, IMAGE, output={"state": "mount/state"})
    with mounted(tmp_path / "mount", "--bind", str(tmp_path / "in.zarr")):
        assert "overlap" in refused(config, capsys)


# --- leftovers


def test_only_leftovers_of_ours_are_swept(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)), tiling={"core": 32, "blend": 8}, output={"keep_scratch": True})
    output, state = complete(config), config_of(config).state_path
    scratch = next(state.glob("scratch-*"))
    ours = [
        state / ".run.json.0123456789ab.partial",
        state / ".run.json.4711.partial",
        state / ".lock.0123456789ab.taken.partial",
        output / f"zarr.{'0a' * 16}.partial",
        output / "0" / "c" / "0" / f"0.{'0a' * 16}.partial",
        output / "quality" / f"zarr.{'0a' * 16}.partial",
        scratch / f"1.0.0.0.{'0a' * 16}.partial",
    ]
    users = [
        state / "thesis.partial",
        state / "mine" / ".run.json.0123456789ab.partial",
        output / "notes.partial",
        output / "mine" / f"zarr.{'0a' * 16}.partial",
        tmp_path / ".out.zarr.77.partial",
        tmp_path / f".out.zarr.{'0a' * 16}.partial" / "data",
    ]
    for path in (*ours, *users):
        path.parent.mkdir(exist_ok=True)
        path.write_text("torn")
    complete(config)
    assert [path for path in ours if path.exists()] == []
    assert [path for path in users if not path.exists()] == []


# --- one writer


def other_state(config: Path, name: str = "other") -> Path:
    """Return a configuration of the same output with another state folder."""
    path = config.with_name(f"{name}.yaml")
    document = yaml.safe_load(config.read_text())
    document["output"]["state"] = f"{name}.state"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def at_work(config: Path, lock: str = "lock", purpose: str = "a run") -> Iterator[None]:
    """Hold a state folder and the output as a client does."""
    loaded = load_config(config)
    state = loaded.state_path
    claim_state_folder(state)
    with run_lock(state / lock, purpose) as lease, output_lease(loaded.output.path, state, lease, purpose):
        yield


def through_link(folder: Path) -> str:
    (folder / "link").symlink_to(folder)
    return "link/out.zarr"


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "as it is": lambda _: "out.zarr",
    "a trailing slash": lambda _: "out.zarr/",
    "a detour": lambda folder: f"../{folder.name}/./out.zarr",
    "a link": through_link,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("there", [False, True])
def test_a_second_writer_is_refused_however_it_is_started(tmp_path: Path, spelling: str, there: bool) -> None:
    config = make_run(tmp_path, IMAGE)
    if there:
        complete(config)
    other = other_state(config)
    change(other, output={"path": SPELLINGS[spelling](tmp_path)})
    state = load_config(other).state_path
    with at_work(config):
        before = contents(tmp_path)
        acts: list[Callable[[], Any]] = [lambda: go(other, new=True)]
        if not there:  # else the state is missing, and that is said first
            acts += [lambda: go(other), lambda: run_part(load_config(other), Part(2, 1))]
        for act in acts:
            with pytest.raises(LockedError, match=rf"another run works on this output \(process {os.getpid()} on"):
                act()
            assert not state.exists()
            assert contents(tmp_path).keys() == before.keys()
    assert go(config).complete


def test_a_second_writer_by_another_mount_is_refused(tmp_path: Path) -> None:
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    config = make_run(tmp_path / "case", IMAGE)
    with mounted(tmp_path / "mount", "--bind", str(tmp_path / "case")), at_work(config):
        other = other_state(tmp_path / "mount" / "run.yaml")
        with pytest.raises(LockedError, match="state in"):
            go(other)


def test_who_finishes_or_verifies_with_a_copy_of_the_state_is_refused(tmp_path: Path) -> None:
    """A copy has the same token as the run: only the lease beside the output distinguishes them."""
    config = make_run(tmp_path, IMAGE)
    for number in (1, 2):
        assert run_part(load_config(config), Part(2, number)).complete
    other = other_state(config)
    shutil.copytree(config_of(config).state_path, load_config(other).state_path)
    before = contents(tmp_path)
    with at_work(config):
        for act in (lambda: finish_parts(load_config(other)), lambda: go(other), lambda: go(other, new=True)):
            with pytest.raises(LockedError, match="another run works on this output"):
                act()
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after.get(name)} <= {
        f"{folder}/{name}"
        for folder in ("other.state",)
        for name in ("ledger.jsonl", "ledger-part-1-of-2.jsonl", "ledger-part-2-of-2.jsonl")
    }  # a merge of what parts recorded is no change


def test_a_part_with_another_state_folder_is_refused_and_one_with_the_same_is_not(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 64, 128)), tiling={"core": 64})
    with at_work(config, "lock-part-1-of-2", "part 1 of 2"):
        assert run_part(load_config(config), Part(2, 2)).complete
        with pytest.raises(OutputError, match="its state"):
            run_part(load_config(other_state(config)), Part(2, 2))
        with pytest.raises(LockedError, match="part 1 of 2 is running"):
            go(config)


def test_parts_of_other_numbers_exclude_each_other_but_one_works(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 64, 128)), tiling={"core": 64})
    with at_work(config, "lock-part-1-of-2", "part 1 of 2"):
        with pytest.raises(LockedError, match="part 1 of 2 is running on this output"):
            run_part(load_config(config), Part(3, 2))
        assert not (config_of(config).state_path / "lock-part-2-of-3").exists()


@pytest.mark.parametrize("options", [(), ("--part", "1/1")])
def test_after_a_kill_the_next_call_works_at_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    config = make_run(tmp_path, IMAGE)
    code = """
import os, signal, sys
import ssi_pipeline.executors.serial as serial
serial.execute = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from ssi_pipeline.cli import main
main(["run", *sys.argv[1:]])
"""
    done = subprocess.run([sys.executable, "-c", code, str(config), *options], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".out.zarr.")]
    assert len(left) == 1
    assert left[0].endswith(".lease")
    began = time.monotonic()
    assert go(config).complete
    assert time.monotonic() - began < 30  # a lease of another machine is watched for 60 s
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_who_loses_the_lease_of_the_output_stops(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE)
    loaded = load_config(config)
    claim_state_folder(loaded.state_path)
    with (
        run_lock(loaded.state_path / "lock") as lease,
        output_lease(loaded.output.path, loaded.state_path, lease, "a run") as output,
    ):
        next(tmp_path.glob(".out.zarr.*.lease")).unlink()
        time.sleep(1.1)  # a look is trusted for a second
        with pytest.raises(LockLostError):
            output.check()


def test_new_starts_over_where_the_document_of_the_run_is_damaged(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE)
    good = hashes(complete(config))
    (config_of(config).state_path / "run.json").write_text("{ torn")
    assert main(["run", str(config)]) == 2
    assert hashes(complete(config, new=True)) == good


def test_new_keeps_the_output_of_another_state_folder(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE)
    kept = contents(complete(config))
    other = other_state(config)
    assert go(other, new=True).complete
    (old,) = tmp_path.glob("out.zarr.old-*")
    assert contents(old) == kept
    with pytest.raises(OutputError, match="belongs to run"):
        go(config)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_damage_is_told_of_an_output_that_may_only_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "place"
    with mounted(place, "-t", "tmpfs", "tmpfs"):
        config = make_run(place, IMAGE)
        output = place / "out.zarr"
        # another process: this one would keep the logs of its workers open
        subprocess.run([sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)], check=True, capture_output=True)
        next(p for p in (output / "0" / "c").rglob("*") if p.is_file()).unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        before = contents(place)
        assert main(["verify", str(config)]) == 1
        said = capsys.readouterr().out
        assert "1 bad" in said
        assert "are read-only" in said
        assert main(["run", "--new", str(config)]) == 2
        assert contents(place) == before


# --- what other commands write


def test_reports_tables_and_pictures_replace_nothing_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, IMAGE)
    complete(config)
    for name in ("mine.html", "mine.csv", "mine.parquet"):
        (tmp_path / name).write_text("years of work")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_text("mine")
    before = contents(tmp_path)
    for command in (
        ["report", "--output", "mine.html"],
        ["report", "--output", "run.yaml"],
        ["report", "--figures", "pictures"],
        ["export", "--output", "mine.csv"],
        ["export", "--output", "mine.parquet"],
    ):
        name, option, value = command
        assert main([name, str(config), option, str(tmp_path / value)]) == 2
        assert "ssi" in capsys.readouterr().err
        assert contents(tmp_path) == before
    for _ in range(2):  # their own they replace
        assert main(["report", str(config), "--output", str(tmp_path / "r.html")]) == 0
        assert main(["report", str(config), "--figures", str(tmp_path / "own")]) == 0
        assert main(["export", str(config), "--output", str(tmp_path / "t.csv")]) == 0


def test_a_table_in_parquet_replaces_its_own(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of the extra dev, is not installed")
    import pyarrow

    config = make_run(tmp_path, IMAGE)
    complete(config)
    for _ in range(2):
        assert main(["export", str(config), "--output", str(tmp_path / "t.parquet")]) == 0
    parquet.write_table(pyarrow.table({"mine": [1, 2]}), tmp_path / "mine.parquet")
    assert main(["export", str(config), "--output", str(tmp_path / "mine.parquet")]) == 2


def test_the_demo_replaces_nothing_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "input.zarr").mkdir()
    (tmp_path / "input.zarr" / "data").write_text("mine")
    with pytest.raises(OutputError, match=r"contains input\.zarr, which was not written by ssi"):
        prepare_demo(tmp_path)
    assert (tmp_path / "input.zarr" / "data").read_text() == "mine"
    for _ in range(2):
        assert prepare_demo(tmp_path / "demo").exists()
    assert "psf.npy" in json.loads((tmp_path / "demo" / LIST).read_text())["names"]


def test_previews_and_benchmarks_replace_nothing_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, beads((1, 64, 64)), solver="wiener")
    for name in ("tiles.csv", "summary.md"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    assert main(["preview", str(config), "--tiles", "1", "--output", str(tmp_path)]) == 2
    assert "contains tiles.csv" in capsys.readouterr().err
    assert main(["benchmark", "--methods", "blurry", "--output", str(tmp_path)]) == 2
    assert "contains summary.md" in capsys.readouterr().err
    assert contents(tmp_path) == before
