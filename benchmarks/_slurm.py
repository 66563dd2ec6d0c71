"""A throw-away SLURM on this machine: munge, one controller and several node daemons, on loopback, as root.

Real daemons and real jobs; only the machines and GPUs are made up (character devices of the null device).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")

_CONTROLLER = """ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/run/munge.socket
CredType=cred/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=3
MailProg=/bin/true
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
"""

_PARTITIONS = """PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 PriorityTier=10 State=UP
PartitionName=low Nodes=ALL MaxTime=INFINITE DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
"""


def missing() -> str | None:
    """Return why SLURM cannot be started here, None where it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "starting a SLURM of one's own needs root"
    lacking = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"{', '.join(lacking)} not installed (Debian: slurm-wlm, munge)" if lacking else None


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin"


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; ``environment`` is what its commands need."""

    base: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables for processes that speak to it."""
        return {"SLURM_CONF": str(self.base / "slurm.conf"), "PATH": _path()}

    def command(self, *words: str) -> str:
        """Run one of SLURM's commands; returns what it prints."""
        done = subprocess.run(
            words, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=240, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, state: str = "running") -> list[str]:
        """Return the numbers of the jobs in a state."""
        return self.command("squeue", "-h", "-t", state, "-o", "%i").split()

    def stop_controller(self) -> None:
        """Let the controller answer no more (SIGSTOP); jobs go on."""
        os.kill(_pid(self.base / "slurmctld.pid"), signal.SIGSTOP)

    def resume_controller(self) -> None:
        """Let it answer again."""
        os.kill(_pid(self.base / "slurmctld.pid"), signal.SIGCONT)


@contextlib.contextmanager
def slurm(nodes: int = 2, cpus: int = 4, memory_mb: int = 4096, gpus: int = 2) -> Iterator[Slurm]:
    """Start a SLURM, and stop it with all of its jobs."""
    base = Path(tempfile.mkdtemp(prefix="slm", dir="/tmp"))  # short: a socket's path stays below 108 bytes
    try:
        cluster = Slurm(base)
        _start(cluster, nodes, cpus, memory_mb, gpus)
        yield cluster
    finally:
        _stop(base)


def _start(cluster: Slurm, nodes: int, cpus: int, memory_mb: int, gpus: int) -> None:
    base, environment = cluster.base, {**os.environ, **cluster.environment}
    for name in ("state", "log", "spool", "run", "munge"):
        (base / name).mkdir()
    base.chmod(0o755)
    (base / "munge").chmod(0o700)
    key = base / "munge" / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    _call(
        environment,
        *("munged", f"--key-file={key}", f"--socket={base}/run/munge.socket", f"--pid-file={base}/run/munged.pid"),
        *(f"--log-file={base}/log/munged.log", f"--seed-file={base}/munge/seed", "--num-threads=2"),
    )
    _write_configuration(base, nodes, cpus, memory_mb, gpus)
    _call(environment, "slurmctld", "-c", "-f", str(base / "slurm.conf"))
    for n in range(1, nodes + 1):
        (base / "spool" / f"n{n}").mkdir()
        _call(environment, "slurmd", "-N", f"n{n}", "-f", str(base / "slurm.conf"))
    until = time.monotonic() + 30
    while cluster.command("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split().count("idle") < nodes:
        if time.monotonic() > until:
            raise RuntimeError("no idle nodes: " + (base / "log" / "slurmctld.log").read_text()[-2000:])
        time.sleep(0.2)


def _write_configuration(base: Path, nodes: int, cpus: int, memory_mb: int, gpus: int) -> None:
    host, ports = socket.gethostname().split(".")[0], _free_ports(nodes + 1)
    lines = [_CONTROLLER.format(host=host, port=ports[0], base=base)]
    gres = ["AutoDetect=off"]
    for n in range(1, nodes + 1):
        lines.append(
            f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n]} CPUs={cpus} Boards=1 "
            f"SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory_mb} Gres=gpu:{gpus} "
            "State=UNKNOWN\n"
        )
        devices = base / "dev" / f"n{n}"
        devices.mkdir(parents=True)
        for gpu in range(gpus):  # a GPU has to be a character device, or CUDA_VISIBLE_DEVICES is not set
            os.mknod(devices / f"gpu{gpu}", 0o20600, os.makedev(1, 3))
        gres.append(f"NodeName=n{n} Name=gpu File={devices}/gpu[0-{gpus - 1}]")
    (base / "slurm.conf").write_text("".join(lines) + _PARTITIONS)
    (base / "gres.conf").write_text("\n".join(gres) + "\n")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _call(environment: dict[str, str], *words: str) -> None:
    subprocess.run(words, env=environment, check=True, timeout=60, capture_output=True)


def _pid(path: Path) -> int:
    return int(path.read_text())


def _stop(base: Path) -> None:
    """End every process that belongs to it, jobs first."""
    cluster = Slurm(base)
    with contextlib.suppress(OSError, RuntimeError, ValueError, subprocess.TimeoutExpired):
        cluster.resume_controller()
        cluster.command("scancel", "--user=root")
        until = time.monotonic() + 15
        while cluster.command("squeue", "-h").strip() and time.monotonic() < until:
            time.sleep(0.2)
    processes = []
    for path in [*base.glob("slurmd.*.pid"), base / "slurmctld.pid", base / "run" / "munged.pid"]:
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(_pid(path))
            processes += [*process.children(recursive=True), process]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(base, ignore_errors=True)
