"""`ssi run` on a real SLURM: byte-identical output, whatever happens to its jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _inject
import _slurm
import pytest
import yaml
from builders import make_run, ramp
from kill import hashes

from ssi_pipeline.cli import main
from ssi_pipeline.cluster.nodes import ask_nodes
from ssi_pipeline.config import load_config
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.storage.state.ledger import read_records

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(_slurm.missing() is not None, reason=str(_slurm.missing())),
]


STRANGER = """
from distributed import Client, Security
try:
    client = Client("{address}", security={security}, timeout="4s")
    print("ran", client.submit(sum, [1, 2]).result(timeout=10))
except Exception as error:
    print("refused")
"""
"""Another client, which tries to run code on the run's cluster."""


@pytest.fixture(scope="module")
def slurm() -> Iterator[_slurm.Slurm]:
    with _slurm.slurm() as cluster:
        yield cluster


def executor(**site: Any) -> dict[str, Any]:
    """Two jobs of a worker each; as each asks for all GPUs of a node, they are on two."""
    section = {"partition": "main", "walltime": "00:10:00", "gres": "gpu:2", **site}
    return {"kind": "slurm", "workers": 2, "memory_gib": 1, "device": "cpu", "slurm": section}


def pairs(**site: Any) -> dict[str, Any]:
    """Two jobs of two workers."""
    return {**executor(workers_per_job=2, **site), "workers": 4}


@pytest.fixture(scope="module")
def image() -> Any:
    return ramp((96, 192))[None]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, image: Any) -> dict[str, str]:
    """What the same run gives without any cluster."""
    config = case(tmp_path_factory.mktemp("serial"), image, {"kind": "serial", "device": "cpu"})
    assert main(["run", str(config)]) == 0
    return hashes(config.parent / "out.zarr")


def case(folder: Path, image: Any, section: dict[str, Any], solver: str = "wiener") -> Path:
    """Twelve tiles that blend, so that blocks wait for several of them."""
    return make_run(
        folder,
        image,
        solver=solver,
        tiling={"core": {"y": 32, "x": 48}, "blend": 4},
        executor=section,
    )


class Client:
    """`ssi run` as a process of its own."""

    def __init__(self, config: Path, slurm: _slurm.Slurm, **inject: Any) -> None:
        self.config = config
        self.words = config.parent / "words.txt"
        environment = {**os.environ, **slurm.environment, **(_inject.environment(**inject) if inject else {})}
        with self.words.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ssi_pipeline.cli", "run", str(config)], env=environment, stdout=log, stderr=log
            )

    @property
    def solved(self) -> Counter[int]:
        ledger = self.config.parent / "out.zarr.run" / "ledger.jsonl"
        return Counter(r.index for r in read_records(ledger) if r.kind == "solve" and r.status == "done")

    @property
    def hosts(self) -> set[str]:
        ledger = self.config.parent / "out.zarr.run" / "ledger.jsonl"
        return {r.host.split(":")[0] for r in read_records(ledger) if r.kind == "solve"}

    def wait_for(self, condition: Callable[[], bool], seconds: float = 240) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.words.read_text()
            if time.monotonic() > until:
                raise self.stopped()
            time.sleep(0.1)

    def end(self, seconds: float = 240) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.stopped() from None

    def stopped(self) -> AssertionError:
        """End the process, which would go on beside other tests, and return what it said."""
        self.process.kill()
        self.process.wait()
        return AssertionError(self.words.read_text())


def test_preempted_and_requeued_jobs_cost_their_tiles_and_nothing_else(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, serial: dict[str, str]
) -> None:
    """scancel of one job in the middle of its tiles, scontrol requeue of the next: same bytes, few tiles again."""
    client = Client(case(tmp_path, image, pairs()), slurm, sleep=3)
    client.wait_for(lambda: len(client.solved) >= 2)
    first = slurm.jobs()
    assert len(first) == 2
    slurm.command("scancel", first[0])
    client.wait_for(lambda: len(client.solved) >= 5)
    slurm.command("scontrol", "requeue", first[1])
    slurm.command("scontrol", "update", f"jobid={first[1]}", "StartTime=now")  # SLURM would have it wait 2 minutes
    assert client.end() == 0
    assert hashes(tmp_path / "out.zarr") == serial
    assert client.hosts == {"n1", "n2"}
    words = client.words.read_text()
    lost = re.findall(r"(\w+)/\d+ preempted, will be retried: its worker's job is", words)
    # At most six: the batches of two workers at each of two preemptions, and of the second worker of each job, which
    # may be given a batch after the first has died.
    # A batch of tiles that take 3 s is one tile; one of blocks, which take none, is several in a row
    batches = sum(1 if kind != "solve" else len(list(lines)) for kind, lines in groupby(lost))
    assert 1 <= batches <= 6, words
    assert "lost (1 of" not in words  # none was put on a tile's own account
    assert max(client.solved.values()) == 1
    assert not slurm.jobs()


@pytest.mark.long
def test_a_walltime_shorter_than_the_run(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, serial: dict[str, str]
) -> None:
    """A minute for each job, and tiles for more than that: workers leave in time and others come."""
    client = Client(case(tmp_path, image, executor(walltime="00:01:00")), slurm, sleep=10)
    assert client.end() == 0
    assert hashes(tmp_path / "out.zarr") == serial
    words = client.words.read_text()
    assert words.count("has ended (completed)") + words.count("has ended (timeout)") >= 2, words
    assert "lost (1 of" not in words


@pytest.mark.long
def test_a_killed_client_is_simply_started_again(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, serial: dict[str, str]
) -> None:
    config = case(tmp_path, image, executor())
    client = Client(config, slurm, sleep=1)
    client.wait_for(lambda: len(client.solved) >= 3)
    client.process.send_signal(signal.SIGKILL)
    client.process.wait()
    again = Client(config, slurm)
    assert again.end() == 0
    assert hashes(tmp_path / "out.zarr") == serial
    assert max(again.solved.values()) == 1
    time.sleep(1)
    assert not slurm.jobs()
    assert not (tmp_path / "out.zarr.run" / "tls").exists()


@pytest.mark.long
def test_a_controller_that_does_not_answer_stops_nothing(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, serial: dict[str, str]
) -> None:
    client = Client(case(tmp_path, image, executor()), slurm, sleep=2, tell=["CUDA_VISIBLE_DEVICES"])
    client.wait_for(lambda: len(client.solved) >= 2)
    slurm.stop_controller()
    client.wait_for(lambda: len(client.solved) >= 8)
    slurm.resume_controller()
    assert client.end() == 0
    assert hashes(tmp_path / "out.zarr") == serial
    assert {gpu for _, gpu in seen(tmp_path)} == {"-1"}  # jobs on processors see no GPU, whatever SLURM gave them


def test_jobs_that_fail_before_their_workers_report_end_the_run_with_their_last_words(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm
) -> None:
    client = Client(case(tmp_path, image, executor(prologue=["echo no such module: cuda/99", "exit 3"])), slurm)
    assert client.end(120) == 3
    assert "ended before their workers connected" in client.words.read_text()
    assert "no such module: cuda/99" in client.words.read_text()
    assert not slurm.jobs("all") or not slurm.jobs()


def test_an_unknown_partition_is_refused_by_name(tmp_path: Path, image: Any, slurm: _slurm.Slurm) -> None:
    client = Client(case(tmp_path, image, executor(partition="nowhere")), slurm)
    assert client.end(60) == 2
    assert "sbatch refused" in client.words.read_text()
    assert "nowhere" in client.words.read_text()


@pytest.mark.long
def test_nobody_else_can_join_and_each_worker_has_a_gpu_of_its_own(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm
) -> None:
    """Neither in plain text, nor without a certificate, nor with one of its own. SLURM's GPUs are shared out."""
    config = case(tmp_path, image, {**pairs(), "device": "auto"}, solver="identity")  # which needs none
    client = Client(config, slurm, sleep=6, tell=["CUDA_VISIBLE_DEVICES"])  # others try to get in meanwhile
    client.wait_for(lambda: len(client.solved) >= 1)
    job = slurm.jobs()[0]
    script = slurm.command("scontrol", "write", "batch_script", job, "-")
    address = next(word for word in script.split() if word.startswith("tls://"))
    plain = address.replace("tls://", "tcp://")
    tries = [(plain, "None"), (address, "None"), (address, "Security.temporary()")]
    strangers = [
        subprocess.Popen(
            [sys.executable, "-c", STRANGER.format(address=asked, security=security)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for asked, security in tries
    ]
    files = list((tmp_path / "out.zarr.run" / "tls").iterdir())
    assert files
    assert all(p.stat().st_mode & 0o077 == 0 for p in [*files, files[0].parent])
    assert [stranger.communicate(timeout=60)[0] for stranger in strangers] == [b"refused\n"] * 3
    assert client.end() == 0
    told = [json.loads(p.read_text()) for p in (tmp_path / "out.zarr.run").glob("told-*.json")]
    seen = Counter((t["SLURMD_NODENAME"], t["CUDA_VISIBLE_DEVICES"]) for t in told)
    assert seen == {(node, gpu): 1 for node in ("n1", "n2") for gpu in ("0", "1")}


def seen(folder: Path) -> Counter[tuple[str, str]]:
    """Node and CUDA_VISIBLE_DEVICES of each worker that solved a tile."""
    told = [json.loads(p.read_text()) for p in (folder / "out.zarr.run").glob("told-*.json")]
    return Counter((t["SLURMD_NODENAME"], t["CUDA_VISIBLE_DEVICES"]) for t in told)


@pytest.mark.long
def test_a_site_that_leaves_the_variable_unset_has_its_gpus_shared_out_all_the_same(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm
) -> None:
    site = pairs(prologue=["unset CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL ROCR_VISIBLE_DEVICES"])
    config = case(tmp_path, image, {**site, "device": "auto"}, solver="identity")
    client = Client(config, slurm, sleep=2, tell=["CUDA_VISIBLE_DEVICES"])
    assert client.end() == 0, client.words.read_text()
    assert set(seen(tmp_path)) == {(node, gpu) for node in ("n1", "n2") for gpu in ("0", "1")}


@pytest.mark.long
def test_nodes_whose_torch_has_no_gpu_are_named_and_end_a_run_that_asks_for_one(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm
) -> None:
    """The GPUs are made up, so no worker can: none falls back to the processor by itself."""
    client = Client(case(tmp_path, image, {**pairs(), "workers": 2, "device": "auto"}), slurm)
    assert client.end(200) == ExitStatus.STOPPED
    words = client.words.read_text()
    assert "computing on cuda in float32" in words
    assert re.search(r"n[12]:\d+ excluded: it cannot compute on cuda in float32: .*torch", words), words
    # both nodes of this SLURM, or as many workers one after the other
    assert "SLURM has only excluded nodes left" in words or "no worker can compute on cuda in float32" in words, words
    assert not client.solved


def test_the_script_is_printed_as_it_is_submitted(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    config = case(
        tmp_path, image, executor(directives=["--qos=normal", "--constraint=a100"], prologue=["module load cuda"])
    )
    assert main(["cluster", "script", str(config)]) == 0
    text = capsys.readouterr().out
    for line in ("#SBATCH -p main", "#SBATCH -t 00:10:00", "#SBATCH --gres=gpu:2", "#SBATCH --qos=normal"):
        assert line in text.splitlines()
    assert "module load cuda" in text.splitlines()
    checked = subprocess.run(
        ["sbatch", "--test-only"],
        input=text.replace("#SBATCH --qos=normal\n", "").replace("#SBATCH --constraint=a100\n", ""),
        env={**os.environ, **slurm.environment},
        text=True,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert yaml.safe_load(config.read_text())["executor"]["kind"] == "slurm"


@pytest.mark.long
def test_the_run_itself_as_a_job(tmp_path: Path, image: Any, slurm: _slurm.Slurm, serial: dict[str, str]) -> None:
    """cluster/driver.sbatch: one job drives, others work."""
    config = case(tmp_path, image, executor())
    driver = Path(__file__).parents[2] / "cluster" / "driver.sbatch"
    ssi = Path(sys.executable).with_name("ssi")
    output = tmp_path / "driver.out"
    options = ["--parsable", "--wait", "--mem=500M", f"--output={output}", f"--export=ALL,SSI={ssi}"]
    slurm.command("sbatch", *options, str(driver), str(config))
    assert "complete: 12 of 12 tiles" in output.read_text()
    assert hashes(tmp_path / "out.zarr") == serial


def smoke(config: Path, slurm: _slurm.Slurm) -> tuple[int, str]:
    """cluster/smoke.sh, as a newcomer starts it."""
    script = Path(__file__).parents[2] / "cluster" / "smoke.sh"
    environment = {**os.environ, **slurm.environment, "SSI": str(Path(sys.executable).with_name("ssi"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else there is one more line: workers start slowly
    done = subprocess.run(
        [str(script), str(config)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_a_new_site_is_proved_by_two_small_jobs(tmp_path: Path, image: Any, slurm: _slurm.Slurm) -> None:
    config = case(tmp_path, image, executor(gres="gpu:1", scratch="/tmp"))
    status, words = smoke(config, slurm)
    assert status == 0, words
    found = [line for line in words.splitlines() if line.startswith(("ok", "FAILED"))]
    assert [line.split()[0] for line in found] == ["ok"] * 9
    for said in (
        "partition main",
        "ran on n",
        "reads and writes",
        "in.zarr",
        "nodes that answered job",
        "n1, n2; 4 were requested",
        "versions are equal here and on n1, n2: python",
        "bit-identical",
    ):
        assert any(said in line for line in found), words
    assert not list(tmp_path.glob(".ssi-check-*"))


def test_what_a_new_site_lacks_is_named(tmp_path: Path, image: Any, slurm: _slurm.Slurm) -> None:
    status, words = smoke(case(tmp_path, image, executor(partition="nowhere")), slurm)
    assert status == 1
    assert "FAILED  executor.slurm.partition is nowhere: expected one of low, main" in words


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(slurm: _slurm.Slurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)

    def run(config: Path, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["cluster", "check", str(config), *options])
        return status, "".join(capsys.readouterr())

    return run


@pytest.mark.long
def test_a_node_with_another_version_is_named(tmp_path: Path, image: Any, check: Check) -> None:
    """The metadata of another tifffile, on n2 only."""
    other = tmp_path / "other" / "tifffile-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: tifffile\nVersion: 0.0.1\n")
    line = f'if [ "$SLURMD_NODENAME" = n2 ]; then export PYTHONPATH={other.parent}:$PYTHONPATH; fi'
    config = case(tmp_path, image, executor(gres="gpu:1", prologue=[line]))
    status, words = check(config)
    assert status == 1, words
    here = version("tifffile")
    assert f"FAILED  versions differ: tifffile {here} here and on n1, 0.0.1 on n2\n" in words


@pytest.mark.long
def test_a_node_that_does_not_answer_is_named_where_it_is_asked(tmp_path: Path, image: Any, check: Check) -> None:
    line = 'if [ "$SLURMD_NODENAME" = n2 ]; then echo no such module; exit 3; fi'
    # SLURM gives the job that solves the first node, which is the good one
    config = case(tmp_path, image, executor(gres="gpu:1", prologue=[line]))
    status, words = check(config)
    assert status == 1, words
    assert "FAILED  n2 did not answer: job" in words, words
    assert "versions are equal here and on n1: python" in words
    (log,) = tmp_path.glob(".ssi-check-*/nodes/logs/slurm-*.out")
    assert "no such module" in log.read_text()
    status, words = check(config, "--nodes", "1")
    assert status == 0, words
    assert "n2" not in words


def test_a_node_that_hangs_is_waited_for_no_longer_than_said(
    tmp_path: Path, image: Any, slurm: _slurm.Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)

    def clock() -> float:
        """Let all the time pass when the other node has answered, however long that takes here."""
        return time.monotonic() + (10_000 if list((tmp_path / "nodes").glob("probe-*.json")) else 0)

    monkeypatch.setattr("ssi_pipeline.cluster.nodes.time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    line = 'if [ "$SLURMD_NODENAME" = n2 ]; then sleep 300; fi'
    config = load_config(case(tmp_path, image, executor(gres="gpu:1", prologue=[line])))
    asked = ask_nodes(config, tmp_path, 4)
    assert list(asked.answers) == ["n1"]
    assert asked.asked == 2
    (problem,) = asked.problems
    log = tmp_path / "nodes" / "logs" / f"slurm-{asked.job}.out"
    assert problem == f"n2 did not answer: job {asked.job} is RUNNING; its log: {log}"
    assert asked.job not in slurm.jobs()
