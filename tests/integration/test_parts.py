"""Array tasks share only files: together they write the same bytes as a single run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zarr
from builders import TINY, beads, complete, config_of, go, hashes, make_run, ramp, records, write_zarr

import ssi_pipeline.storage.state.lock as lock
from ssi_pipeline.cli import main
from ssi_pipeline.errors import ConfigError, InputError, LockedError
from ssi_pipeline.results.status import describe_status, read_status
from ssi_pipeline.run import finish_parts, run_part, verify
from ssi_pipeline.run.array.finish import describe_missing, pending_tiles
from ssi_pipeline.run.array.task import own_blocks
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import read_records, read_state
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.marker import MARKER, claim_state_folder
from ssi_pipeline.storage.state.parts import Part, ledger_paths, parse_part, part_ledger, part_lock
from ssi_pipeline.tasks.opening import open_context, task_counts

SCRIPTS = Path(__file__).parents[2] / "cluster"


def case(folder: Path, blend: int = 8, **sections: Any) -> Path:
    """Twelve tiles in two rows of six, so that three parts cut through both rows; blocks of half a tile."""
    shard = {"z": 1, "y": 64, "x": 25}
    tiling = {"core": {"y": 64, "x": 50}, "blend": blend}
    return make_run(
        folder,
        beads((2, 64, 300)),
        **{"solver": "wiener", "tiling": tiling, "output": {"shard": shard}, **sections},
    )


@pytest.fixture(scope="module", params=[8, pytest.param(0, marks=pytest.mark.long)])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, str]]:
    """A blend, and what one run makes with it."""
    folder = tmp_path_factory.mktemp("whole")
    return request.param, hashes(complete(case(folder, request.param)))


@pytest.fixture(scope="module")
def by_one_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one run makes of the case."""
    return hashes(complete(case(tmp_path_factory.mktemp("by-one-run"))))


def start(config: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    text = process.communicate(timeout=120)[0]
    return process.returncode, text


def paths_of(config: Path) -> StatePaths:
    return StatePaths(config_of(config).state_path)


def do(config: Path, *numbers: int, of: int = 3, **options: Any) -> None:
    for number in numbers:
        assert run_part(config_of(config), Part(of, number), **options).complete


def finish(config: Path) -> Any:
    return finish_parts(config_of(config))


def status_of(config: Path) -> str:
    attributes: Any = zarr.open_group(config_of(config).output.path, mode="r").attrs
    return str(attributes["ssi_pipeline"]["status"])


# --- the ranges


def test_ranges_follow_one_another() -> None:
    for n_tiles in (0, 1, 7, 12, 100):
        for count in (1, 3, 8, 13):
            ranges = [Part(count, k).tiles(n_tiles) for k in range(1, count + 1)]
            assert [tile for tiles in ranges for tile in tiles] == list(range(n_tiles))
            assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/", "-1/8", "3/0", "a/b", "1.5/3", "3/8/2", ""])
def test_bad_parts_are_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="k from 1 to n"):
        parse_part(text)
    config = case(tmp_path)
    assert main(["run", str(config), f"--part={text}"]) == 2
    assert "for instance --part 3/8" in capsys.readouterr().err
    assert not paths_of(config).root.exists()


@pytest.mark.parametrize("options", [["--part", "1/2", "--finish"], ["--part", "1/2", "--new"], ["--finish", "--new"]])
def test_options_that_exclude_each_other(tmp_path: Path, options: list[str]) -> None:
    assert main(["run", str(case(tmp_path)), *options]) == 2


@pytest.mark.parametrize(
    "executor",
    [{"kind": "dask", "address": "tls://127.0.0.1:1"}, {"kind": "slurm", "workers": 2, "memory_gib": 1}],
)
def test_an_executor_of_several_machines_is_refused(tmp_path: Path, executor: dict[str, Any]) -> None:
    config = case(tmp_path, executor=executor)
    with pytest.raises(ConfigError, match="a part runs on one machine"):
        do(config, 1)
    assert not paths_of(config).root.exists()


# --- together they make what one run makes


def three_at_once(config: Path) -> list[tuple[int, str]]:
    return [said(process) for process in [start(config, "--part", f"{k}/3") for k in (1, 2, 3)]]


@pytest.mark.slow
def test_three_at_once_then_finish(
    tmp_path: Path, whole: tuple[int, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a blend, where parts share no block, one after the other in this process (SSI_LONG: at once as well)."""

    def called(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(["run", str(config), *options]), "".join(capsys.readouterr())

    blend, expected = whole
    config = case(tmp_path, blend)
    apart = blend > 0 or "SSI_LONG" in os.environ
    for code, text in three_at_once(config) if apart else [called("--part", f"{k}/3") for k in (1, 2, 3)]:
        assert code == 0, text
        assert "done: 4 of 4 tiles done (4 in this call)" in text
        assert ("stays until the finish" in text) == (blend > 0)
    paths = paths_of(config)
    assert [p.name for p in ledger_paths(paths)[1:]] == [f"ledger-part-{k}-of-3.jsonl" for k in (1, 2, 3)]
    assert status_of(config) == "incomplete"
    assert not any((tmp_path / "out.zarr" / "1").rglob("c/*"))
    assert [r.index for r in records(config, "calibrate")] == [0]  # the first did it for all
    context = open_context(config_of(config))
    mine = [own_blocks(context.plan, Part(3, k).tiles(12))[0] for k in (1, 2, 3)]
    written = [{r.index for r in read_records(p) if r.kind == "stitch"} for p in ledger_paths(paths)[1:]]
    assert written == mine
    assert sum(map(len, mine)) == (24 if blend == 0 else 20)
    code, text = called("--finish")
    assert code == 0, text
    assert "complete: 12 of 12 tiles done (0 in this call)" in text
    assert hashes(tmp_path / "out.zarr") == expected
    assert status_of(config) == "complete"
    assert verify(config_of(config)).good
    assert ledger_paths(paths) == [paths.ledger]
    assert not list(paths.root.glob("*lock*"))
    assert not list(paths.root.glob("scratch-*"))
    assert (tmp_path / "out.zarr" / "quality" / "seam").is_dir()
    assert finish(config).complete


@pytest.mark.long
@pytest.mark.slow
def test_machines_whose_clocks_differ_by_two_hours(tmp_path: Path, by_one_run: dict[str, str]) -> None:
    """Clients that take themselves for two machines, an hour ahead and an hour behind; a third finishes."""
    config = case(tmp_path)
    code = """
import sys, time
now, shift = time.time, int(sys.argv[3])
time.time = lambda: now() + shift
import ssi_pipeline.storage.state.process as process
from ssi_pipeline.cli import main
process._where = lambda: (f"boot-{shift}", "pid:[1]")
sys.exit(main(["run", sys.argv[1], "--part", sys.argv[2]]))
"""
    parts = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(config), f"{k}/2", str(shift)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k, shift in ((1, 3600), (2, -3600))
    ]
    for process in parts:
        status, text = said(process)
        assert status == 0, text
    assert len(records(config, "calibrate")) == 1
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == by_one_run


@pytest.mark.slow
def test_a_killed_part_goes_on(tmp_path: Path, whole: tuple[int, dict[str, str]]) -> None:
    blend, expected = whole
    config = case(tmp_path, blend)
    paths, part = paths_of(config), Part(2, 1)
    process = start(config, "--part", "1/2")
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
        if part_ledger(paths, part).exists() and part_ledger(paths, part).read_bytes().count(b"\n") >= 2:
            break
    process.kill()
    said(process)
    do(config, 2, 1, of=2)
    solved = [r.index for r in read_records(part_ledger(paths, part)) if r.kind == "solve"]
    assert set(solved) == set(range(6))
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == expected


def test_a_plain_run_goes_on_where_parts_ended(tmp_path: Path, whole: tuple[int, dict[str, str]]) -> None:
    blend, expected = whole
    config = case(tmp_path, blend)
    do(config, 2)
    outcome = go(config)
    assert outcome.complete
    assert outcome.computed_tiles == 8
    assert hashes(tmp_path / "out.zarr") == expected
    assert ledger_paths(paths_of(config)) == [paths_of(config).ledger]
    do(config, 1, 2, 3)  # and parts find nothing to do where it ended
    assert finish(config).computed_tiles == 0
    assert hashes(tmp_path / "out.zarr") == expected


@pytest.mark.long
@pytest.mark.slow
def test_parts_share_one_training(tmp_path: Path) -> None:
    tiny: dict[str, Any] = {**TINY, "training": {**TINY["training"], "scope": "shared"}, "solver": "ssi"}
    expected = hashes(complete(case(tmp_path / "whole", **tiny)))
    config = case(tmp_path / "parts", **tiny)
    processes = [start(config, "--part", f"{k}/2") for k in (1, 2)]
    for process in processes:
        code, text = said(process)
        assert code == 0, text
    assert finish(config).complete
    assert len(records(config, "train")) == 1
    assert hashes(tmp_path / "parts" / "out.zarr") == expected


def test_more_parts_than_tiles(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 64)))
    do(config, *range(1, 7), of=6)
    assert finish(config).complete


# --- what is missing, and what is done about it


def test_finish_names_the_parts_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = case(tmp_path)
    with pytest.raises(InputError, match="no run found at"):
        finish(config)
    do(config, 1, 3)
    for _ in range(2):  # also when their ledgers are merged already
        assert main(["run", str(config), "--finish"]) == 4
        text = capsys.readouterr().out
        assert f"part 2 of 3: 4 of 4 tiles pending: `ssi run {config} --part 2/3`" in text
        assert "part 1" not in text.replace("part 2 of 3", "")
        assert "4 of 12 tiles are pending" in text
    do(config, 2)
    assert finish(config).computed_tiles == 0
    assert go(config).complete


def test_scratch_that_is_gone_is_the_parts_to_make_again(tmp_path: Path, by_one_run: dict[str, str]) -> None:
    config = case(tmp_path)
    do(config, 1, 2, 3)
    context = open_context(config_of(config))
    chunk = context.scratch.root / "4.0.0.0.0"  # at the edge of part 2, kept for the block that it shares with part 1
    chunk.unlink()
    assert not finish(config).complete
    assert pending_tiles(context, read_state(context.paths.ledger, task_counts(context))) == [4]
    assert "part 2 of 3: 1 of 4 tiles" in describe_missing(context, [4], 3, "ssi run")[0]
    do(config, 2)
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == by_one_run


def test_failed_tiles_of_a_part(tmp_path: Path) -> None:
    config = case(tmp_path)
    shutil.rmtree(tmp_path / "in.zarr")
    write_zarr(tmp_path / "in.zarr", beads((2, 64, 300)), "zyx", crc=True)
    good = hashes(complete(make_copy(config, tmp_path / "whole")))
    do(config, 1)  # calibrates, before the damage
    chunk = tmp_path / "in.zarr" / "c" / "0" / "0" / "9"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-20] + bytes(20))
    outcome = run_part(config_of(config), Part(3, 2))
    assert outcome.tiles_failed
    assert not outcome.complete
    assert main(["run", str(config), "--part", "2/3"]) == 1  # left alone
    do(config, 3)
    assert not finish(config).complete  # makes what can be made
    chunk.write_bytes(content)
    assert run_part(config_of(config), Part(3, 2)).computed_tiles == 0
    do(config, 2, retry_failed=True)
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == good


def make_copy(config: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copytree(config.parent / "in.zarr", folder / "in.zarr")
    return Path(shutil.copy(config, folder))


@pytest.mark.parametrize("moment", ["Ledger.append", "Ledger.sync"])
def test_a_finish_killed_while_it_merges(tmp_path: Path, moment: str, by_one_run: dict[str, str]) -> None:
    config = case(tmp_path)
    do(config, 1, 2, 3)
    code = f"""
import os, signal, sys
from pathlib import Path
import ssi_pipeline.storage.state.ledger as ledger
from ssi_pipeline.cli import main
from ssi_pipeline.storage.state.ledger import Ledger
calls, before = [], {moment}
def killed(*arguments):
    before(*arguments)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
{moment} = killed
main(["run", sys.argv[1], "--finish"])
"""
    process = subprocess.run([sys.executable, "-c", code, str(config)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(ledger_paths(paths_of(config))) == (4 if moment == "Ledger.append" else 3)
    assert finish(config).computed_tiles == 0
    assert hashes(tmp_path / "out.zarr") == by_one_run


def test_a_block_that_went_bad_is_found_by_the_finish(tmp_path: Path, by_one_run: dict[str, str]) -> None:
    config = case(tmp_path)
    do(config, 1, 2, 3)
    shard = next(p for p in (tmp_path / "out.zarr" / "0").rglob("c/*/*/0"))
    content = bytearray(shard.read_bytes())
    content[8] ^= 1  # same size: only reading finds it
    shard.write_bytes(content)
    assert not finish(config).complete
    assert status_of(config) == "incomplete"
    assert not finish(config).complete  # its tiles' scratch is gone
    do(config, 1, 2, 3)
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == by_one_run


def test_the_finish_ends_the_run_for_the_users_command(tmp_path: Path) -> None:
    """The notification command runs at the end of the array, not of each task."""
    config = case(tmp_path, on_end={"command": f"echo $SSI_OUTCOME $SSI_TILES_DONE >> {tmp_path}/ended"})
    do(config, 1, of=2)
    assert not (tmp_path / "ended").exists()
    assert not finish(config).complete
    do(config, 2, of=2)
    assert finish(config).complete
    assert (tmp_path / "ended").read_text() == "incomplete 6\ncomplete 12\n"


# --- who may work beside whom


def test_two_clients_of_one_part(tmp_path: Path) -> None:
    config = case(tmp_path)
    do(config, 1)
    with run_lock(part_lock(paths_of(config), Part(3, 2)), "part 2 of 3"):
        code, text = said(start(config, "--part", "2/3"))
        assert code == 3
        assert f"process {os.getpid()} on" in text
        assert "part 2 of 3" in text
        do(config, 3)  # the others do not mind
        for refused in (lambda: go(config), lambda: finish(config), lambda: go(config, new=True)):
            with pytest.raises(LockedError, match=r"part 2 of 3 is running on this output \(process"):
                refused()
        with pytest.raises(LockedError, match="part 2 of 3 is running"):
            do(config, 1, of=4)
        rows = dict(describe_status(read_status(config_of(config))))
        assert rows["client"].startswith("running (process")
        assert rows["tiles"].startswith("8 done")
    assert len(ledger_paths(paths_of(config))) == 3  # nothing was merged meanwhile
    do(config, 2)


@pytest.mark.long
@pytest.mark.slow
def test_a_suspended_part_stops_when_another_took_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_one_run: dict[str, str]
) -> None:
    config = case(tmp_path)
    paths, part = paths_of(config), Part(2, 1)
    short = lock.Timing(renew=0.1, stale=2.0, settle=0.2, poll=0.02, trust=0.02)
    monkeypatch.setattr(lock, "TIMING", short)
    code = f"""
import sys
import ssi_pipeline.storage.state.lock as lock
from ssi_pipeline.cli import main
lock.TIMING = lock.{short!r}
sys.exit(main(["run", sys.argv[1], "--part", "1/2"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
        if part_ledger(paths, part).exists() and part_ledger(paths, part).read_bytes().count(b"\n") >= 1:
            break
    os.kill(process.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])  # a busy machine takes a moment
    assert not finish(config).complete
    assert ledger_paths(paths) == [paths.ledger]
    os.kill(process.pid, signal.SIGCONT)
    status, text = said(process)
    assert status == 3, text
    assert "did not renew its lock" in text
    assert ledger_paths(paths) == [paths.ledger]
    do(config, 1, 2, of=2)
    assert finish(config).complete
    assert hashes(tmp_path / "out.zarr") == by_one_run


def test_a_part_refuses_beside_a_plain_run(tmp_path: Path) -> None:
    config = case(tmp_path)
    paths = paths_of(config)
    claim_state_folder(paths.root)
    with run_lock(paths.lock), pytest.raises(LockedError, match="another run works on this output"):
        do(config, 1)
    assert [p.name for p in paths.root.iterdir()] == [MARKER]


def test_parts_wait_for_the_one_that_sets_up(tmp_path: Path) -> None:
    config = case(tmp_path)
    paths = paths_of(config)
    claim_state_folder(paths.root)
    with run_lock(paths.lock, "setting up for part 1 of 3"):
        process = start(config, "--part", "2/3")
        assert process.stdout is not None
        assert "waiting while the run is being set up (process" in process.stdout.readline()
    assert said(process)[0] == 0


def test_dead_parts_of_another_number_are_merged(tmp_path: Path) -> None:
    config = case(tmp_path)
    do(config, 1, 2)
    do(config, 1, 2, 3, 4, of=4)
    assert [p.name for p in ledger_paths(paths_of(config))[1:]] == [f"ledger-part-{k}-of-4.jsonl" for k in range(1, 5)]
    solved = [r.index for p in ledger_paths(paths_of(config)) for r in read_records(p) if r.kind == "solve"]
    assert sorted(solved) == list(range(12))
    assert finish(config).complete


def test_status_and_verify_count_parts(tmp_path: Path) -> None:
    config = case(tmp_path)
    do(config, 1, 3)
    status = read_status(config_of(config))
    assert (status.tiles, status.tiles_done, status.running) == (12, 8, False)
    assert status.blocks_done == verify(config_of(config)).blocks - verify(config_of(config)).missing


# --- the scripts for SLURM


def submit(config: Path, script: str, **variables: str) -> tuple[int, str]:
    """Run a batch script as SLURM does: by bash, with its variables, and `ssi` on the path."""
    command = config.parent / "bin" / "ssi"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ssi_pipeline.cli "$@"\n')
    command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"PATH": f"{command.parent}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", str(SCRIPTS / script), str(config)], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def array(first: int, last: int, count: int, task: int) -> dict[str, str]:
    numbers = {"MIN": first, "MAX": last, "COUNT": count, "ID": task}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in numbers.items()}


@pytest.mark.long
@pytest.mark.slow
def test_the_batch_scripts(tmp_path: Path) -> None:
    config = case(tmp_path)
    assert submit(config, "array.sbatch", **array(1, 2, 2, 1))[0] == 0
    code, text = submit(config, "finish.sbatch")
    assert code == 4
    assert "--part 2/2" in text
    assert submit(config, "array.sbatch", **array(2, 2, 1, 2), SSI_PARTS="2")[0] == 0
    assert submit(config, "finish.sbatch")[0] == 0


@pytest.mark.parametrize("variables", [{}, array(0, 7, 8, 0), array(1, 9, 5, 3), array(3, 3, 1, 3)])
def test_the_array_script_refuses_other_arrays(tmp_path: Path, variables: dict[str, str]) -> None:
    code, text = submit(case(tmp_path), "array.sbatch", **variables)
    assert code == 2
    assert "--array=1-8" in text
    assert not (tmp_path / "out.zarr.run").exists()
