"""Outputs by URL: objects as the files on a disk, whole or absent; one run at a time; faults that end in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import zarr
from builders import beads, complete, config_of, contents, go, make_run, records
from plates import write_labelled
from s3_server import KEYS, S3, needs_s3

import ssi_pipeline
from ssi_pipeline.cli import main
from ssi_pipeline.errors import ConfigError, LockedError, OutputError, RunChangedError, StoreError
from ssi_pipeline.run.checks.verify import verify
from ssi_pipeline.storage.object_store import ObjectStore
from ssi_pipeline.storage.outputs import output_objects
from ssi_pipeline.storage.outputs.output_lock import output_lease
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.state.lease_file import Holder
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.process import this_process
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.view.opened import config_of as opened_config
from ssi_pipeline.view.opened import open_run

pytestmark = needs_s3

IMAGE = beads((1, 280, 32))
"""Long enough for a second level of the pyramid."""

TILES = {"core": {"y": 64, "x": 32}}

_numbers = count()


def by_url(folder: Path, s3: S3, image: Any = IMAGE, **sections: Any) -> Path:
    """Return the configuration of a run whose output is a URL of its own."""
    output = {"path": f"s3://tests/run-{next(_numbers)}/out.zarr", "state": "out.run", **sections.pop("output", {})}
    storage = {"endpoint": s3.endpoint, "retries": 3, **sections.pop("storage", {})}
    plain: dict[str, Any] = {"solver": "wiener", "tiling": TILES}
    image = None if (folder / "in.zarr").exists() else image
    return make_run(folder, image, output=output, storage=storage, **{**plain, **sections})


def store_at(config: Path) -> ObjectStore:
    found = store_of(config_of(config).output.path)
    assert isinstance(found, ObjectStore)
    return found


def objects(config: Path) -> dict[str, bytes]:
    store = store_at(config)
    return {entry.key: store.read(entry.key) for entry in store.list()}


def shards(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if name[0].isdigit()}


def on_disk(folder: Path, image: Any = IMAGE, **sections: Any) -> dict[str, bytes]:
    """Return the files of the same run on a disk."""
    output = {"path": "out.zarr", **sections.pop("output", {})}
    plain: dict[str, Any] = {"solver": "wiener", "tiling": TILES}
    found = contents(complete(make_run(folder, image, output=output, **{**plain, **sections})))
    return {name: content for name, content in found.items() if content != b"<folder>"}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return on_disk(tmp_path_factory.mktemp("there"))


def test_an_output_in_s3_is_that_on_a_disk(
    tmp_path: Path, s3: S3, there: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Objects, requests, secrets, and every command that reads a run."""
    config = by_url(tmp_path, s3)
    assert main(["plan", str(config)]) == 0
    s3.forget()
    assert main(["run", str(config)]) == 0
    asked = list(s3.requests)
    found = objects(config)
    assert found.keys() == there.keys()
    assert shards(found) == shards(there)
    assert {"0/c/0/0/0", "1/c/0/0/0", "quality/flag/c/0/0/0/0/0"} <= found.keys()

    # one request writes a shard, a second one sees that the output is still there
    written = [path for method, path in asked if method == "PUT" and ("/0/c/" in path or "/1/c/" in path)]
    assert len(written) == len(set(written)) == len([name for name in shards(found) if "/c/" in name])
    seen = Counter(asked)["HEAD", f"/tests/{store_at(config).place.key}/zarr.json"]
    tasks = len(records(config, "solve")) + len(records(config, "pyramid")) + len(records(config, "calibrate"))
    assert seen <= tasks + 2

    assert json.loads(found["zarr.json"])["attributes"]["ssi_pipeline"]["status"] == "complete"
    state = contents(tmp_path / "out.run")
    for secret in KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]:
        assert [name for name, content in {**found, **state}.items() if secret.encode() in content] == []

    assert main(["verify", str(config)]) == 0
    capsys.readouterr()
    assert main(["status", str(config)]) == 0
    assert "all blocks are written" in capsys.readouterr().out
    s3.forget()
    assert go(config).computed_tiles == 0
    assert not any(method in ("PUT", "DELETE") for method, path in s3.requests if "/out.zarr/" in path)
    opened = ssi_pipeline.open_run(str(config))
    image = np.asarray(zarr.open_array(store_at(config).zarr("0"), mode="r")[...])
    assert np.array_equal(opened.image().compute(), image)
    assert opened.complete
    assert opened_config(tmp_path / "out.run").output.path == config_of(config).output.path
    left = store_of(store_at(config).place.parent).list()
    assert {entry.key.split("/")[0] for entry in left} == {"out.zarr", ".out.zarr.locks"}
    assert [e.key for e in store_of(store_at(config).place.with_name(".out.zarr.locks")).list()] == ["gate"]


@pytest.mark.long
def test_report_table_and_layers(tmp_path: Path, s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    config = by_url(tmp_path, s3)
    complete(config)
    assert main(["report", str(config)]) == 0
    assert main(["export", str(config), "--output", str(tmp_path / "table.csv")]) == 0
    opened = open_run(config_of(config))
    assert [options["name"] for _, options, _ in opened.layers][:2] == ["input", "output"]
    assert opened.notes == []
    with pytest.raises(SystemExit, match="2"):
        main(["config", str(store_at(config).place)])
    assert "expected the path of an output, found a URL" in capsys.readouterr().err
    assert main(["view", "--neuroglancer", str(config)]) == 2
    assert "is a URL, but the link serves a folder" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("blended", [False, True])
def test_format_0_4_and_an_uncertainty(tmp_path: Path, s3: S3, blended: bool) -> None:
    """Two images, each block of which is two objects; with scratch in the state folder, where tiles are blended."""
    image, more = beads((1, 64, 32)), {"tiling": {**TILES, "blend": 4}} if blended else {}
    sections = {"output": {"ome_zarr": "0.4", "pyramid": False, "uncertainty": 2}, **more}
    config = by_url(tmp_path / "here", s3, image, **sections)
    assert go(config).complete
    assert shards(objects(config)) == shards(on_disk(tmp_path / "there", image, **sections))
    assert all(len(record.etags) == 2 for record in records(config, "stitch"))
    store_at(config).delete("uncertainty/0/0/0/0")
    assert go(config).computed_tiles > 0


@pytest.mark.long
def test_labels_tables_and_what_was_lost_of_them(tmp_path: Path, s3: S3) -> None:
    write_labelled(tmp_path / "in.zarr")
    config = by_url(tmp_path, s3, output={"carry": ["labels", "tables"]}, tiling={"core": 64})
    complete(config)
    found = objects(config)
    assert b"area" in found["tables/areas/table.csv"]
    assert {name for name in found if name.startswith("labels/nuclei/0/c")}
    store_at(config).delete("labels/nuclei/0/zarr.json")
    assert verify(config_of(config)).damage
    complete(config)
    again = objects(config)
    assert {name: again[name] for name in found if name.startswith(("labels", "tables"))} == {
        name: found[name] for name in found if name.startswith(("labels", "tables"))
    }


def test_what_was_lost_or_replaced_is_written_again(
    tmp_path: Path, s3: S3, there: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    config = by_url(tmp_path, s3)
    complete(config)
    store = store_at(config)
    first, second = store.read("0/c/0/0/0"), store.read("0/c/0/1/0")
    store.delete("0/c/0/2/0")
    store.write("0/c/0/1/0", second[:-20])
    store.write("0/c/0/0/0", first[:100] + bytes([first[100] ^ 1]) + first[101:])  # of the same size
    store.write("0/c/0/3/0", store.read("0/c/0/3/0"))  # as a bucket that was copied: the same ETag
    s3.fault = lambda method, path, n: 403 if method in ("PUT", "DELETE") else None  # credentials that may only read
    capsys.readouterr()
    assert main(["verify", str(config)]) == 1
    said = capsys.readouterr().out
    assert said.count("is missing or empty") == 1
    assert "not recorded" in said
    s3.forget()
    assert main(["verify", str(config)]) == 1
    assert go(config).complete
    assert shards(objects(config)) == shards(there)
    bad = {record.index for record in records(config, "stitch") if record.status == "invalid"}
    assert bad == {0, 1, 2}


@pytest.mark.long
def test_another_etag_of_the_same_voxels_is_no_loss(tmp_path: Path, s3: S3) -> None:
    """A copy may have other ETags, of parts: then the voxels are read back, once."""
    config = by_url(tmp_path, s3, beads((1, 32, 32)), output={"pyramid": False})
    complete(config)
    ledger = tmp_path / "out.run" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"etags":["\\"', '"etags":["\\"0'))
    first = records(config, "stitch")[-1]
    s3.forget()
    assert go(config).computed_tiles == 0
    assert any(method == "GET" and path.endswith("/0/c/0/0/0") for method, path in s3.requests)
    again = records(config, "stitch")[-1]
    store = store_at(config)
    assert again.etags == [entry.etag for entry in store.list() if entry.key == "0/c/0/0/0"] != first.etags
    assert again == replace(first, seconds=0.0, quality={**first.quality, "etags": again.etags})
    s3.forget()
    assert go(config).computed_tiles == 0
    assert not any(method == "GET" and path.endswith("/0/c/0/0/0") for method, path in s3.requests)
    content = store.read("0/c/0/0/0")
    store.write("0/c/0/0/0", content[:50] + bytes([content[50] ^ 1]) + content[51:])
    assert go(config).computed_tiles == 1
    assert store.read("0/c/0/0/0") == content


def test_refused_before_any_work(tmp_path: Path, s3: S3) -> None:
    for output, said in (
        ({"state": None}, r"ledger, locks and calibration need a file system: expected output.state"),
        ({"path": "https://host/out.zarr"}, "on a web server, which cannot be written"),
        ({"path": "s3://tests"}, "expected the name of a folder"),
        ({"path": "s3://key:secret@tests/a.zarr"}, "a URL with credentials"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_of(by_url(tmp_path, s3, output=output))
    with pytest.raises(ConfigError, match=r"input.images selects several images, whose output is a folder"):
        config_of(by_url(tmp_path, s3, input={"images": "*"}))
    assert config_of(by_url(tmp_path, s3, output={"path": "file:///data/out.zarr"})).output.path == Path(
        "/data/out.zarr"
    )

    config = by_url(tmp_path, s3)
    store = store_at(config)
    store.write("notes.txt", b"of somebody")
    with pytest.raises(OutputError, match="was not written by ssi"):
        go(config)
    with pytest.raises(StoreError, match=r"no such bucket|does not answer as expected"):
        go(by_url(tmp_path, s3, output={"path": "s3://no-such-bucket/out.zarr"}))
    inside = by_url(tmp_path, s3, None, input={"path": f"{store.place}/in.zarr"}, output={"path": str(store.place)})
    with pytest.raises(OutputError, match=r"output.path .* and input.path .* overlap"):
        go(inside)
    assert not (tmp_path / "out.run").exists()
    assert [entry.key for entry in store.list()] == ["notes.txt"]


def test_what_needs_a_rename_is_refused_and_nothing_is_lost(tmp_path: Path, s3: S3) -> None:
    small = beads((1, 32, 32))
    config = by_url(tmp_path, s3, small)
    complete(config)
    before, state = objects(config), contents(tmp_path / "out.run")
    with pytest.raises(OutputError, match="an object store has no rename to keep it as a backup"):
        go(config, new=True)
    assert (objects(config), contents(tmp_path / "out.run").keys()) == (before, state.keys())
    other = {"path": str(store_at(config).place), "state": "other.run"}
    with pytest.raises(OutputError, match=r"is an output of ssi, but its state folder .* is missing"):
        go(by_url(tmp_path, s3, small, output=other))
    with pytest.raises(OutputError, match="an object store has no rename"):
        go(by_url(tmp_path, s3, small, output=other), recreate_output=True)
    with pytest.raises(RunChangedError, match="solver"):
        go(by_url(tmp_path, s3, small, output={**other, "state": "out.run"}, solver="identity"))
    config = by_url(tmp_path, s3, small, output={**other, "state": "out.run"})
    for key in before:
        store_at(config).delete(key)
    with pytest.raises(OutputError, match="or, if it was deleted, recreate it with `ssi run --recreate-output`"):
        go(config)
    assert go(config, recreate_output=True).complete
    assert shards(objects(config)) == shards(before)


@pytest.mark.parametrize(
    "losses",
    [
        ("zarr.json",),
        *(
            pytest.param(names, marks=pytest.mark.long)
            for names in (("quality/flag/c/0/0/0/0/0",), ("0/zarr.json", "quality/status/zarr.json"))
        ),
    ],
)
def test_metadata_that_were_lost_are_repaired(tmp_path: Path, s3: S3, losses: tuple[str, ...]) -> None:
    config = by_url(tmp_path, s3, beads((1, 32, 32)))
    complete(config)
    before, store = objects(config), store_at(config)
    for lost in losses:
        store.delete(lost)
        assert main(["verify", str(config)]) == 1
        assert go(config).computed_tiles == 0
    assert shards(objects(config)) == shards(before)
    assert objects(config).keys() == before.keys()


def test_a_second_run_is_refused_and_told_whose_it_is(tmp_path: Path, s3: S3) -> None:
    """Other state folders, so that only the locks beside the output keep them apart."""
    small = beads((1, 32, 32))
    config = by_url(tmp_path, s3, small)
    place, state = config_of(config).output.path, tmp_path / "other"
    state.mkdir()
    with run_lock(state / "lock") as lease, output_lease(place, state, lease, "a run of somebody") as held:
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on .*: a run of somebody, state in {state}"):
            go(config)
        held.check()
    # a lease of a killed process of this machine is taken over at once, as on a disk
    output_store(place).lease("0" * 16).create(Holder("dead", "a run", replace(this_process(), started="0")))
    assert go(config).complete
    locks = store_of(place.with_name(f".{place.name}.locks"))
    assert [entry.key for entry in locks.list()] == ["gate"]


def test_a_lock_that_does_not_answer_is_given_up_early(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Well before it is stale for others, whatever a shard may take."""
    monkeypatch.setattr(output_objects, "_LOCK_PATIENCE_S", 1)
    store = output_store(config_of(by_url(tmp_path, s3, None, storage={"retries": 9})).output.path)
    s3.fault = lambda method, path, n: 5.0 if ".locks/" in path else None
    started = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        store.gate().read()
    assert time.monotonic() - started < 5


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectStore, "create", lambda self, key, content: self.write(key, content) or True)
    config = by_url(tmp_path, s3, beads((1, 32, 32)))
    with pytest.raises(OutputError, match="the store ignores the conditions of writes"):
        go(config)
    assert not (tmp_path / "out.run").exists()
    assert not output_store(config_of(config).output.path).exists()


def test_503s_change_nothing_and_expired_credentials_stop_the_run(
    tmp_path: Path, s3: S3, there: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    config = by_url(tmp_path, s3)
    s3.fault = lambda method, path, n: 403 if method == "PUT" and "/0/c/0/2" in path else None
    assert main(["run", str(config)]) == 3
    said = capsys.readouterr().err
    assert "access denied" in said
    assert "check the credentials in the environment" in said
    assert 0 < len([record for record in records(config, "stitch") if record.status == "done"]) < 5
    chance = np.random.default_rng(0)
    s3.fault = lambda method, path, n: 503 if chance.random() < 0.1 else 0.1 if chance.random() < 0.03 else None
    assert main(["run", str(config)]) == 0
    s3.forget()
    assert shards(objects(config)) == shards(there)


@pytest.mark.long
def test_a_first_start_that_fails_while_it_creates_the_output_is_resumed(tmp_path: Path, s3: S3) -> None:
    """Before the first object, after some, and before the last."""
    config = by_url(tmp_path, s3, beads((1, 32, 32)))
    for refused, left in (("/0/zarr.json", False), ("/quality/", True), ("/out.zarr/zarr.json", True)):
        s3.fault = lambda method, path, n, end=refused: 403 if method == "PUT" and end in path else None
        assert main(["run", str(config)]) == 3
        s3.forget()
        assert bool(objects(config)) == left
    assert go(config).complete
    assert main(["verify", str(config)]) == 0


def solved(folder: Path) -> bool:
    """Return whether a tile of the run is recorded."""
    ledger = folder / "out.run" / "ledger.jsonl"
    return ledger.exists() and b'"solve"' in ledger.read_bytes()


RACER = """
import sys
from pathlib import Path
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import LockedError
from ssi_pipeline.storage.outputs.output_lock import output_lease
from ssi_pipeline.storage.state.lock import run_lock
config = load_config(sys.argv[1])
state = Path(sys.argv[2])
state.mkdir()
with run_lock(state / "lock") as lease:
    for line in sys.stdin:
        try:
            with output_lease(config.output.path, state, lease, line.strip()) as held:
                print("won", flush=True)
                sys.stdin.readline()
                held.check()
                print("kept", flush=True)
        except LockedError as error:
            assert line.strip() in str(error) and "wait for it" in str(error), error
            print("refused", flush=True)
"""


@pytest.mark.long
def test_one_of_six_processes_gets_the_output(tmp_path: Path, s3: S3) -> None:
    """Six runs on one output with state folders of their own, started at a moment, again and again; one is killed."""
    config = by_url(tmp_path, s3)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(config), str(tmp_path / f"state-{i}")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for i in range(6)
    ]  # fmt: skip

    everyone = [*racers]

    def tell(racer: subprocess.Popen[str], line: str) -> None:
        assert racer.stdin is not None
        racer.stdin.write(f"{line}\n")
        racer.stdin.flush()

    def answer(racer: subprocess.Popen[str]) -> str:
        assert racer.stdout is not None
        return racer.stdout.readline().strip()

    try:
        for race in range(5):
            for racer in racers:
                tell(racer, f"race {race}")
            answers = [answer(racer) for racer in racers]
            assert sorted(answers) == ["refused"] * (len(racers) - 1) + ["won"]
            winner = racers[answers.index("won")]
            if race == 3:  # the next race finds the lease of a killed process
                winner.kill()
                winner.wait()
                racers.remove(winner)
            else:
                tell(winner, "")
                assert answer(winner) == "kept"
    finally:
        for racer in everyone:
            racer.kill()
            racer.communicate()  # closes its pipes


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, 4])
def test_killed_with_its_workers_and_resumed(tmp_path: Path, s3: S3, kills: int) -> None:
    """Two dask workers and blended tiles, SIGKILL of all after some tiles, the same command again."""
    sections: dict[str, Any] = {"tiling": {**TILES, "blend": 8}}
    dask = {"kind": "dask", "workers": 2, "memory_gib": 1, "device": "cpu"}
    expected = on_disk(tmp_path / "there", **sections)
    config = by_url(tmp_path / "here", s3, executor=dask, **sections)
    command = [sys.executable, "-m", "ssi_pipeline", "run", str(config)]
    ledger = tmp_path / "here" / "out.run" / "ledger.jsonl"
    for kill in range(kills):
        lines = len(ledger.read_bytes().splitlines()) if ledger.exists() else 0
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    time.sleep(0.02)
                    if ledger.exists() and len(ledger.read_bytes().splitlines()) > lines + 1 + kill:
                        break
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    assert subprocess.run(command, check=False).returncode == 0
    assert shards(objects(config)) == shards(expected)
    assert main(["verify", str(config)]) == 0


@pytest.mark.long
def test_a_client_and_a_run_that_are_killed_are_followed_at_once(tmp_path: Path, s3: S3) -> None:
    """The lease of a killed run is that of a process of this machine that is gone: nobody waits a minute."""
    config = by_url(tmp_path, s3)
    command = [sys.executable, "-m", "ssi_pipeline", "run", str(config)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not solved(tmp_path):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    started = time.monotonic()
    assert go(config).complete
    assert time.monotonic() - started < 60  # the time after which a lease of another machine is stale


@pytest.mark.long
@pytest.mark.parametrize("keeps", [True, False])
def test_a_restart_of_the_server_in_mid_run(
    tmp_path: Path, s3: S3, there: dict[str, bytes], capsys: pytest.CaptureFixture[str], keeps: bool
) -> None:
    """Down for seconds with its data: waited for. Without its data: no block goes into an output that is no more."""
    config = by_url(tmp_path, s3, storage={"retries": 8})
    stopped: list[Thread] = []

    def restart() -> None:
        if keeps:
            time.sleep(2)
            os.kill(s3.process.pid, signal.SIGCONT)
        else:
            s3.process.wait()
            s3.start()
        down.clear()

    down: list[bool] = []

    def fault(method: str, path: str, n: int) -> int | None:
        if not stopped and solved(tmp_path):
            down.append(True)
            s3.process.send_signal(signal.SIGSTOP if keeps else signal.SIGKILL)
            stopped.append(Thread(target=restart))
            stopped[0].start()
        return 503 if down else None

    s3.fault = fault
    status = main(["run", str(config)])
    stopped[0].join()
    s3.forget()
    if keeps:
        assert status == 0
    else:
        assert status != 0
        said = capsys.readouterr().err  # whichever is seen first: the lock is lost, too
        assert "has no zarr metadata any more" in said or "did not renew its lock" in said
        assert not shards(objects(config)).keys() & {"0/c/0/3/0", "0/c/0/4/0"}
        assert main(["run", str(config)]) == 2
        assert "recreate it with `ssi run --recreate-output`" in capsys.readouterr().err
        assert main(["run", "--recreate-output", str(config)]) == 0
    assert shards(objects(config)) == shards(there)
