"""The contract of executors: serial, local dask, and a dask scheduler that runs elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import yaml
from builders import SERIAL, complete, config_of, image_files, level, make_run, ramp
from distributed.deploy.cluster import Cluster
from kill import worker_processes
from numcodecs import Zstd

from ssi_pipeline.config import ExecutorConfig, load_config
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.executors import Completed, Executor, open_executor
from ssi_pipeline.executors.connect import connect
from ssi_pipeline.executors.dask import DaskExecutor
from ssi_pipeline.executors.local import open_local
from ssi_pipeline.results import read_status
from ssi_pipeline.run import failure_budget, run
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import RunSpec

PLACES = ["serial", "dask-1", "dask-2", "address"]


def section(place: str, address: str | None = None) -> ExecutorConfig:
    if place == "serial":
        return ExecutorConfig.model_validate(SERIAL)
    if place == "address":
        return ExecutorConfig(kind="dask", address=address, device="cpu")
    return ExecutorConfig(kind="dask", workers=int(place[-1]), memory_gib=2, device="cpu")


def drain(executor: Executor, seconds: float = 120) -> list[Completed]:
    """Collect until no task is pending or running."""
    found, until = [], time.monotonic() + seconds
    while executor.pending and time.monotonic() < until:
        found += executor.completed(0.5)
    assert executor.pending == 0
    return found


@dataclass(frozen=True)
class Site:
    """A dask scheduler with one worker, as a site would start them."""

    address: str
    scheduler: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path_factory.mktemp("dask")
    port = address.rsplit(":", 1)[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    plain = ["--no-dashboard", "--host", "127.0.0.1"]
    commands = [
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *plain, "--port", port],
        [sys.executable, "-m", "distributed.cli.dask_worker", address, *plain, "--nthreads", "1"],
    ]
    processes = [subprocess.Popen(c, cwd=folder, **quiet) for c in commands]  # type: ignore[call-overload]
    yield Site(address, processes[0])
    for process in reversed(processes):
        process.terminate()
    for process in reversed(processes):
        process.wait(20)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    """A complete run of 12 tiles, whose jobs can be repeated."""
    config = make_run(tmp_path_factory.mktemp("run"), ramp((2, 64, 96)))
    complete(config)
    root = config_of(config).state_path
    return RunSpec(str(root), RunDocument.load(StatePaths(root).document).fingerprint)


@pytest.fixture(scope="module")
def local(spec: RunSpec) -> Iterator[DaskExecutor]:
    """One worker of this machine, for all tests that need no cluster of their own: each costs seconds to start."""
    executor = open_executor(section("dask-1"), spec)
    assert isinstance(executor, DaskExecutor)
    with contextlib.closing(executor):
        yield executor
        # closed while a batch is running; closing() closes it a second time, without effect
        executor.submit([Job("solve", 0)])
        executor.close()


@pytest.fixture(scope="module", params=PLACES)
def executor(request: pytest.FixtureRequest, spec: RunSpec) -> Iterator[Executor]:
    if request.param == "dask-1":
        yield request.getfixturevalue("local")
        return
    address = request.getfixturevalue("site").address if request.param == "address" else None
    with contextlib.closing(open_executor(section(request.param, address), spec)) as opened:
        yield opened
        opened.close()  # and once more by closing(): nothing happens


def test_every_batch_comes_back_once(executor: Executor) -> None:
    batches = [(Job("solve", i), Job("solve", i + 1)) for i in range(0, 12, 2)]
    for batch in batches:
        executor.submit(batch)
    assert executor.pending == 12
    found = drain(executor)
    assert Counter(done.jobs for done in found) == Counter(batches)
    for done in found:
        assert done.lost is None
        solved = [(r.index, r.status) for r in done.records if r.kind == "solve"]
        # the first batch of a process imports torch, and may end early for that; what it did is in order
        assert solved
        assert solved == [(job.index, "done") for job in done.jobs][: len(solved)]
        # cores are shards here and nothing is blended: each tile writes its block
        assert [r.index for r in done.records if r.kind == "stitch"] == [index for index, _ in solved]
    assert executor.completed(0.1) == []


def test_workers_tell_what_they_can_compute_on(executor: Executor) -> None:
    found = executor.abilities(lambda: False)
    assert found
    for ability in found:
        assert bool(ability.gpu) != bool(ability.problem)
        assert ability.place.rpartition(":")[2].isdigit()
    assert executor.pending == 0


def test_an_exception_is_in_its_record_and_stops_no_other(executor: Executor) -> None:
    executor.submit([Job("solve", 0), Job("solve", 12), Job("solve", 1, attempt=2)])
    (done,) = drain(executor)
    assert done.lost is None
    by_index = {r.index: r for r in done.records if r.kind == "solve"}
    assert {i: r.status for i, r in by_index.items()} == {0: "done", 12: "failed", 1: "done"}
    assert "index 12 is outside a grid of 12" in str(by_index[12].error)
    assert by_index[1].attempt == 2


def test_what_is_withdrawn_does_not_come_back(executor: Executor) -> None:
    jobs = [Job("solve", i % 12) for i in range(60)]
    for job in jobs:
        executor.submit([job])
    executor.withdraw()
    left = executor.pending
    assert left < 60
    assert len(drain(executor)) == left


def test_there_is_a_slot(executor: Executor) -> None:
    assert executor.slots >= 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "nowhere"])
def test_nobody_at_the_address(spec: RunSpec, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr("ssi_pipeline.executors.local._CONNECT_TIMEOUT", "1s")
    remote = section("address", address).model_copy(update={"allow_unencrypted": True})
    with pytest.raises(ExecutorError, match="no dask scheduler answers"):
        open_executor(remote, spec)


NOBODY = """
import gc
from distributed import Client
from ssi_pipeline.executors.connect import connect

gc.disable()
for address in ("tcp://127.0.0.1:9", "tls://127.0.0.1:9", "nowhere"):
    try:
        connect(address, "1s")
    except ConnectionError as error:
        assert str(error), address
print([found.status for found in gc.get_objects() if isinstance(found, Client)])
"""


def test_a_client_that_could_not_connect_is_closed_at_once() -> None:
    """Left to the garbage collector, it is closed at any moment, also within the lock that closing waits for."""
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "[]\n", done.stderr


# --- workers that die: whole runs, and the test sends the kills


def workers() -> list[psutil.Process]:
    """Return the worker processes started by this process."""
    return worker_processes(os.getpid())


def process_of(executor: DaskExecutor) -> Any:
    """Return the worker process of an executor with one worker; None while there is none."""
    return next(iter(executor._client.run(os.getpid, on_error="ignore").values()), None)


@contextlib.contextmanager
def meanwhile(action: Callable[[threading.Event], None]) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=action, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_a_killed_worker_is_survived(tmp_path: Path) -> None:
    image = ramp((6, 64, 96))
    config = make_run(tmp_path, image, executor={"kind": "dask", "workers": 2, "memory_gib": 2})
    ledger = config_of(config).state_path / "ledger.jsonl"
    killed: list[int] = []

    def kill_one(over: threading.Event) -> None:
        while not over.is_set() and not (ledger.exists() and b'"solve"' in ledger.read_bytes()):
            time.sleep(0.02)
        for process in workers()[:1]:
            process.kill()
            killed.append(process.pid)

    with meanwhile(kill_one):
        outcome = run(load_config(config))
    assert killed
    assert outcome.complete
    assert (level(tmp_path / "out.zarr") == image).all()


@pytest.mark.slow
def test_a_tile_that_kills_its_worker_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of the input that decodes to 4 GiB, four times what a worker may use; the others are fine."""
    monkeypatch.setattr(failure_budget, "WORKER_LOSSES", 1)
    # it would read the chunk of 4 GiB in this process, some times
    monkeypatch.setattr("ssi_pipeline.run.driver.refuse_changed_input", lambda *_, **__: None)
    image = ramp((24, 32, 32))
    config = make_run(tmp_path, image)
    complete(config)
    document = yaml.safe_load(config.read_text())
    document["executor"] = {"kind": "dask", "workers": 1, "memory_gib": 1, "device": "cpu"}
    config.write_text(yaml.safe_dump(document))
    # plane 0 is none of those that tell inputs apart; the channel is calibrated already
    chunk = tmp_path / "in.zarr" / "c" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(Zstd().encode(np.zeros(2**32, np.uint8)))
    for shard in image_files(tmp_path / "out.zarr"):
        shard.unlink()
    outcome = run(load_config(config))
    assert not outcome.complete
    assert (outcome.tiles_done, outcome.tiles_failed) == (23, 1)
    ((key, error),) = read_status(config_of(config)).failures
    assert key == "solve/0"
    assert "the worker that ran it died (out of memory, or killed), 2 times" in error
    chunk.write_bytes(whole)
    document["executor"] = SERIAL
    config.write_text(yaml.safe_dump(document))
    assert run(load_config(config), retry_failed=True).complete
    assert (level(tmp_path / "out.zarr") == image).all()


@pytest.mark.slow
def test_a_worker_that_leaves_in_order_is_replaced(local: DaskExecutor) -> None:
    """Its nanny leaves with it. (One whose process dies starts another: on a busy machine that may take its time.)"""
    (first,) = local._client.scheduler_info()["workers"]
    local._client.retire_workers([first], close_workers=True)
    deadline = time.monotonic() + 120
    while not (local._client.scheduler_info()["workers"].keys() - {first}):
        local.completed(0.2)
        assert time.monotonic() < deadline
    local.submit([Job("solve", 0)])
    assert len(drain(local)) == 1


def test_nobody_without_the_certificate_of_the_run_can_join(local: DaskExecutor) -> None:
    """Dask's protocol runs code: any client that connects could run it as this user."""
    address = local._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    for asked in (address.replace("tls://", "tcp://"), address):
        with pytest.raises(ConnectionError):
            connect(asked, "2s")


def test_a_dashboard_where_it_is_asked_for_and_a_worker_that_has_imported_what_tiles_need(local: DaskExecutor) -> None:
    """The dashboard is at the configured address; without one there is none.

    Modules are imported before the first tile comes; other preload modules of dask's configuration are loaded as well.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        asked = f"127.0.0.1:{free.getsockname()[1]}"
    watched = section("dask-1").model_copy(update={"dashboard": asked})
    with dask.config.set({"distributed.worker.preload": ["this"]}):
        executor = open_local(RunSpec("nowhere", "0"), watched, 1, 2**31)
    with contextlib.closing(executor):
        assert urllib.request.urlopen(f"http://{asked}/health", timeout=10).read() == b"ok"
        loaded = executor._client.run(lambda: {"torch", "ssi_pipeline.tasks.execute", "this"} <= set(sys.modules))
    assert list(loaded.values()) == [True]
    port = local._cluster.scheduler.http_server.port
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are copies of one process on Linux alone")
def test_workers_are_copies_of_one_process_and_have_the_variables_of_their_client_of_today(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> tuple[str | None, str | None, int]:
        return os.environ.get("SSI_TEST_GOES"), os.environ.get("SSI_TEST_COMES"), os.getppid()

    monkeypatch.setenv("SSI_TEST_GOES", "first")
    method = dask.config.get("distributed.worker.multiprocessing-method")
    found = []
    for _ in range(2):
        with contextlib.closing(open_executor(section("dask-1"), spec)) as executor:
            assert isinstance(executor, DaskExecutor)
            found += executor._client.run(look).values()
            if len(found) == 1:
                os.kill(pid := process_of(executor), signal.SIGKILL)
                until = time.monotonic() + 60
                while process_of(executor) in (None, pid):
                    assert time.monotonic() < until
                    time.sleep(0.1)
                found += executor._client.run(look).values()
        assert dask.config.get("distributed.worker.multiprocessing-method") == method
        monkeypatch.delenv("SSI_TEST_GOES", raising=False)
        monkeypatch.setenv("SSI_TEST_COMES", "second")
    first, in_its_place, second = found
    assert first == in_its_place
    assert first[:2] == ("first", None)
    assert second[:2] == (None, "second")
    assert first[2] == second[2] != os.getpid()


def test_no_process_is_left_where_dask_gives_up(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a worker that starts, 10 s at most; the exit would then wait for that worker without end."""
    executor = open_executor(section("dask-1"), spec)
    assert isinstance(executor, DaskExecutor)
    process = psutil.Process(process_of(executor))

    def give_up(self: Cluster, timeout: float | None = None) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "close", give_up)
        executor.close()
    process.wait(30)
    executor._cluster.close(timeout=10)
    assert process.pid not in {p.pid for p in workers()}


def test_a_program_of_others_gets_workers_that_start_afresh(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process to be copied would keep signals, threads and limits of its start, also for the program's own use."""
    monkeypatch.setattr("ssi_pipeline.own_process._own", False)
    with contextlib.closing(open_executor(section("dask-1"), spec)) as executor:
        assert isinstance(executor, DaskExecutor)
        assert set(executor._client.run(os.getppid).values()) == {os.getpid()}


@pytest.mark.long
def test_files_in_the_working_directory_are_not_taken_for_libraries(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 32, 32)), executor={**SERIAL, "kind": "dask", "workers": 1, "memory_gib": 2})
    for name in ("torch", "distributed"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w').write({name!r})\n")
    ssi = Path(sys.executable).with_name("ssi")
    done = subprocess.run([ssi, "run", str(config)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "taken").exists()


def test_a_scheduler_that_stands_still_is_not_waited_for_without_end(
    spec: RunSpec, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        executor = open_executor(section("address", site.address), spec)
        stack.callback(executor.close)
        assert executor.slots >= 1
        site.scheduler.send_signal(signal.SIGSTOP)
        stack.callback(site.scheduler.send_signal, signal.SIGCONT)
        # from here on: a scheduler that runs may need more than two seconds for an answer on a busy machine
        monkeypatch.setattr("ssi_pipeline.executors.dask._ANSWER_SECONDS", 2)
        executor.submit([Job("solve", 0)])
        with pytest.raises(ExecutorError, match="lost the connection"):
            drain(executor, 40)
