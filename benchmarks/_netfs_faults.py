"""What is done to runs on a network file system, and what is expected of them."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _inject
import numpy as np
import yaml
import zarr
from _hosts import Host
from _netfs import Served
from kill import hashes

from ssi_pipeline.exit_status import ExitStatus

_PATIENCE_S = 280.0
_CLIENT = str(Path(__file__).with_name("_netfs_client.py"))
_PORT = 8786


def write_template(folder: Path, tiles: int) -> dict[str, str]:
    """Write a volume of ``tiles`` x ``tiles`` tiles and its configurations; returns the image of a local run."""
    folder.mkdir()
    image = np.random.default_rng(0).poisson(200, (1, 32 * tiles, 32 * tiles)).astype(np.uint16)
    zarr.create_array(folder / "in.zarr", data=image, chunks=(1, 64, 64), dimension_names=("z", "y", "x"))
    shape = {"z": 1, "y": 32, "x": 32}
    document: dict[str, Any] = {
        "input": {"path": "in.zarr"},
        "output": {"path": "out.zarr", "state": "state", "shard": shape, "chunk": shape},
        "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
        "solver": "wiener",
        "tiling": {"core": 32, "blend": 4},
        "quality": {"extended": False},
        "executor": {"kind": "serial", "device": "cpu"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    document["output"]["state"] = "other"
    (folder / "other.yaml").write_text(yaml.safe_dump(document))
    local = folder.with_name(f"{folder.name}-local")
    shutil.copytree(folder, local)
    command = [sys.executable, "-m", "ssi_pipeline.cli", "run", str(local / "run.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a local run fails: {done.stdout}{done.stderr}")
    return hashes(local / "out.zarr")


@dataclass
class Call:
    """One `ssi` on one host."""

    host: Host
    process: subprocess.Popen[Any]
    words: Path
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Watch it from now on: others may be waited for first."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.process.wait()
        self.seconds = time.monotonic() - self.began

    def end(self) -> int:
        """Return its exit status."""
        try:
            return self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no end after {_PATIENCE_S:.0f} s: {self.text()}") from None

    def kill(self) -> None:
        """SIGKILL to the client: ``nsenter``, which started it, is no more than its parent."""
        self.host.run("sh", "-c", "kill -KILL $(pgrep -f [_]netfs_client.py)")
        self.process.wait(20)

    def text(self) -> str:
        """Return what it said."""
        return self.words.read_text(errors="replace")


@dataclass
class Bench:
    """One file system, and a template of the case. ``stale``: seconds after which a lease is stale."""

    system: Served
    folder: Path
    expected: dict[str, str]
    tiles: int
    stale: float
    cut_s: float
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def case(self) -> Case:
        """Copy the case to the file system."""
        name = f"case-{next(self._numbers)}"
        self.system.clients[0].run("cp", "-r", str(self.folder / "template"), f"{self.system.mount_point}/{name}")
        return Case(self, name)


@dataclass
class Case:
    """A run on the file system, and what is wrong with it."""

    bench: Bench
    name: str
    ends: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    calls: Iterator[int] = field(default_factory=itertools.count)

    @property
    def first(self) -> Host:
        """The first client host."""
        return self.bench.system.clients[0]

    @property
    def second(self) -> Host:
        """The second client host."""
        return self.bench.system.clients[1]

    def path(self, name: str) -> str:
        """Return the path of something of the case, as the clients see it."""
        return f"{self.bench.system.mount_point}/{self.name}/{name}"

    def start(self, host: Host, *arguments: str, config: str = "run.yaml", pause: float = 0.0, **inject: Any) -> Call:
        """Start `ssi` with a command, by default a run."""
        words = self.bench.folder / f"{self.name}-{next(self.calls)}.txt"
        what = {"stale": self.bench.stale} | ({"pause": pause} if pause else {})
        variables = {**_inject.environment(**inject), "SSI_NETFS": json.dumps(what), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, _CLIENT, *(arguments or ("run",)), self.path(config)]
        return Call(host, host.start_process(command, words, variables), words)

    def done(self) -> int:
        """Count the tiles that are recorded."""
        return self.bench.system.read(f"{self.name}/state/ledger.jsonl").count(b'"solve"')

    def wait_for(self, call: Call, count: int) -> None:
        """Wait until tiles are recorded, while the client lives."""
        until = time.monotonic() + _PATIENCE_S
        while self.done() < count:
            if call.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{count} tiles were waited for: {call.text()}")
            time.sleep(0.1)

    def expect(self, met: bool, what: str) -> None:
        """Note what is wrong."""
        if not met:
            self.wrong.append(what)

    def ended(self, call: Call, *expected: int) -> int:
        """Note how a client ended."""
        status = call.end()
        time.sleep(0.2)  # until the other host sees it
        self.ends.append(f"{status} ({call.seconds:.0f} s)")
        self.expect(status in expected, f"ended with {status}, expected {expected}: {call.text()[-1500:]}")
        return status

    def resume(self, host: Host, config: str = "run.yaml") -> None:
        """Run to the end, and judge what is there then."""
        self.ended(self.start(host, config=config), ExitStatus.COMPLETE)

    def judge(self, host: Host, config: str = "run.yaml") -> None:
        """Look at the output, and beneath the mount point."""
        call = self.start(host, "verify", config=config)
        self.expect(call.end() == 0, f"not verified: {call.text()[-500:]}")
        copy = self.bench.folder / f"{self.name}-out.zarr"
        self.bench.system.copy(f"{self.name}/out.zarr", copy)
        self.expect(hashes(copy) == self.bench.expected, "other bytes than those of a local run")
        beneath = [str(path) for path in self.bench.system.mount_point.rglob("*")]
        self.expect(not beneath, f"written beneath the mount point: {beneath[:5]}")


def client_killed(case: Case) -> None:
    """SIGKILL to the client, resumed at once from the other host: it waits until the two leases are stale."""
    call = case.start(case.first, pause=0.3)
    case.wait_for(call, 4)
    call.kill()
    before = case.done()
    case.resume(case.second)
    again = case.done() - case.bench.tiles
    case.expect(again <= 1, f"{again} tiles were solved again, {before} were there")
    case.judge(case.second)


def server_killed(case: Case) -> None:
    """SIGKILL to the server, which is back after a while: the run waits, or stops with status 3 and goes on later."""
    call = case.start(case.first, pause=0.3)
    case.wait_for(call, 4)
    case.bench.system.kill_server()
    time.sleep(case.bench.cut_s)
    case.bench.system.start_server()
    _went_on_or_stopped(case, call)


def link_cut(case: Case) -> None:
    """The client's cable is pulled for a while: as above."""
    call = case.start(case.first, pause=0.3)
    case.wait_for(call, 4)
    case.first.unplug()
    time.sleep(case.bench.cut_s)
    case.first.plug()
    _went_on_or_stopped(case, call)


def _went_on_or_stopped(case: Case, call: Call) -> None:
    status = case.ended(call, ExitStatus.COMPLETE, ExitStatus.STOPPED)
    if status == ExitStatus.STOPPED:
        said = call.text()
        case.expect("stopped: " in said and "does not respond" in said, f"no reason is given: {said[-800:]}")
        _mount_again(case)
        case.resume(case.first)
    case.judge(case.first)


def _mount_again(case: Case) -> None:
    """Do what an administrator does: mount again what is lost."""
    for host in case.bench.system.clients:
        try:
            host.run("ls", str(case.bench.system.mount_point), seconds=30)
            lost = not case.bench.system.is_mounted(host)
        except (RuntimeError, subprocess.TimeoutExpired):
            lost = True
        if lost:
            case.bench.system.mount(host)


def two_clients(case: Case) -> None:
    """Two hosts start the same run at the same moment."""
    _exclude_each_other(case, "run.yaml", 0)


def two_states(case: Case) -> None:
    """Two hosts start runs with the same output and two state folders at the same moment."""
    _exclude_each_other(case, "other.yaml", 0)


def two_states_stale(case: Case) -> None:
    """The second some seconds later, with --new: its host has just listed the folder, and its list may be stale."""
    _exclude_each_other(case, "other.yaml", 3, "run", "--new")


def _exclude_each_other(case: Case, config: str, later_s: float, *arguments: str) -> None:
    case.second.run("ls", "-la", case.path(""))
    calls = [(case.start(case.first, pause=0.5), "run.yaml")]
    time.sleep(later_s)
    calls.append((case.start(case.second, *arguments, config=config, pause=0.5), config))
    ends = [case.ended(call, ExitStatus.COMPLETE, ExitStatus.STOPPED, ExitStatus.REFUSED) for call, _ in calls]
    case.expect(sorted(ends)[0] == 0 and sorted(ends)[1] != 0, f"exactly one must work: {ends}")
    for (call, _), status in zip(calls, ends, strict=True):
        other = "netfs-c" if call.host is case.first else "netfs-b"
        case.expect(status == 0 or other in call.text(), f"the refusal names no host: {call.text()[-800:]}")
    if 0 in ends:
        worked, of_it = calls[ends.index(0)]
        case.judge(worked.host, of_it)


def parts(case: Case) -> None:
    """Parts 1/2 and 2/2 on two hosts at once, then the finish on the first, which has just looked at both."""
    calls = [case.start(h, "run", "--part", f"{n}/2", pause=0.1) for n, h in ((1, case.first), (2, case.second))]
    while any(call.process.poll() is None for call in calls):
        case.start(case.first, "status").end()
        time.sleep(1)
    for call in calls:
        case.ended(call, ExitStatus.COMPLETE)
    case.ended(case.start(case.first, "run", "--finish"), ExitStatus.COMPLETE)
    case.judge(case.first)


def worker_without_mount(case: Case) -> None:
    """A dask worker on each host, one loses its mount: it writes nothing beneath, the run names it and goes on."""
    with ExitStack() as stack:
        call = _start_with_workers(case, stack)
        case.wait_for(call, 6)
        case.bench.system.lose_mount(case.second)
        lost = time.monotonic()
        case.ended(call, ExitStatus.COMPLETE)
        case.ends.append(f"{time.monotonic() - lost:.0f} s after the loss")
        said = call.text()
        case.expect("netfs-c failed" in said, f"the host is not named: {said[-1500:]}")
        case.expect("not accessible" in said or "another file system" in said, f"its mount is not named: {said}")
    case.bench.system.mount(case.second)
    case.judge(case.first)


def worker_cut_off(case: Case) -> None:
    """The cable of the second worker's host is pulled for a while: its tasks are run again on the first."""
    with ExitStack() as stack:
        call = _start_with_workers(case, stack)
        case.wait_for(call, 6)
        case.second.unplug()
        stack.callback(case.second.plug)
        time.sleep(case.bench.cut_s)
        case.second.plug()
        case.ended(call, ExitStatus.COMPLETE)
    _mount_again(case)
    case.judge(case.first)


def _start_with_workers(case: Case, stack: ExitStack) -> Call:
    """Start a scheduler on the first host, a worker on both, and the run."""
    address = f"tcp://{case.first.address}:{_PORT}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    _keep(case, stack, case.first, [*dask, "--no-dashboard", "--host", case.first.address, "--port", str(_PORT)])
    for host in (case.first, case.second):
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
        options = ["--host", host.address, "--nthreads", "1", "--local-directory", "/run", "--death-timeout", "60"]
        _keep(case, stack, host, [*worker, *options])
    section = {"kind": "dask", "address": address, "device": "cpu", "allow_unencrypted": True}
    document = yaml.safe_load((case.bench.folder / "template" / "run.yaml").read_text())
    local = case.bench.folder / f"{case.name}.yaml"
    local.write_text(yaml.safe_dump({**document, "executor": section}))
    case.first.run("cp", str(local), case.path("run.yaml"))
    return case.start(case.first, sleep=0.3)


def _keep(case: Case, stack: ExitStack, host: Host, command: list[str]) -> None:
    """Start a program that is killed in the end, also where it hangs in the file system."""
    words = case.bench.folder / f"{case.name}-dask-{next(case.calls)}.txt"
    process = host.start_process(command, words, {**_inject.environment(), "OMP_NUM_THREADS": "1"})

    def stop() -> None:
        """End it, and the program that nsenter started."""
        subprocess.run(
            host.command("sh", "-c", "kill -KILL $(pgrep -f [d]istributed.cli)"), capture_output=True, check=False
        )
        process.kill()
        process.wait(20)

    stack.callback(stop)


FAULTS: dict[str, Callable[[Case], None]] = {
    "client killed, resumed from the other host": client_killed,
    "server killed, and back": server_killed,
    "cable of the client pulled, and put back": link_cut,
    "two clients on two hosts, one run": two_clients,
    "two clients on two hosts, two state folders": two_states,
    "the same, with a stale list of files": two_states_stale,
    "parts 1/2 and 2/2 on two hosts, then --finish": parts,
    "a worker's mount lost": worker_without_mount,
    "a worker's cable pulled, and put back": worker_cut_off,
}


def meet(bench: Bench, fault: Callable[[Case], None]) -> Case:
    """Inflict a fault on a case of its own; what goes wrong is in the case."""
    case = bench.case()
    try:
        fault(case)
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        case.wrong.append(f"{type(error).__name__}: {error}")
        _mount_again(case)
    return case
