"""Several machines played by one: each host has its own network, mounts, host name and process ids (needs root).

A host is gone, with all of its processes, mounts and cables, when its first process ends. That one waits for the end of
a pipe whose other end this process holds, so nothing is left behind however this process ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NETWORK = "10.83.41"
"""Addresses inside the hosts' networks, which no other network sees; the server is .1, the others follow."""

_TOOLS = ("unshare", "nsenter", "ip", "hostname", "mount")
_INIT = "hostname {name} && mount -t tmpfs tmpfs /run && ip link set lo up && echo there && exec cat >/dev/null"


def missing(*programs: str) -> str | None:
    """Return why hosts cannot be simulated here, None where they can."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "namespaces of Linux are needed"
    if os.geteuid() != 0:
        return "root is needed to make namespaces"
    if not Path("/dev/fuse").exists():
        return "/dev/fuse is needed"
    if absent := [program for program in (*_TOOLS, *programs) if shutil.which(program) is None]:
        return f"{', '.join(absent)} not found"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"namespaces are not allowed here: {tried.stderr.strip()}"


@dataclass
class Host:
    """One machine. ``pid``: of its first process, as seen from outside."""

    name: str
    address: str
    process: subprocess.Popen[str]
    pid: int

    @staticmethod
    def start(name: str, address: str) -> Host:
        """Boot it."""
        apart = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
        process = subprocess.Popen(
            ["unshare", *apart, "--kill-child=SIGKILL", "sh", "-c", _INIT.format(name=name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it complains when its child is killed
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        if process.stdout.readline() != "there\n":
            process.kill()
            raise RuntimeError(f"host {name} does not start")
        pid = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        return Host(name, address, process, pid)

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs a command on this host."""
        return ["nsenter", "-t", str(self.pid), "--net", "--mount", "--uts", "--pid", "--", *arguments]

    def run(self, *arguments: str, seconds: float = 60) -> str:
        """Run a command to its end; returns what it said, also where it fails."""
        done = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start_process(
        self, arguments: Sequence[str], words: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[Any]:
        """Start a program whose words go to a file."""
        with words.open("wb") as log:
            return subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def kill_all(self) -> None:
        """SIGKILL to every process but the first."""
        with contextlib.suppress(RuntimeError):
            self.run("sh", "-c", "kill -KILL -1")

    def unplug(self) -> None:
        """Pull the cable."""
        self.run("ip", "link", "set", "eth0", "down")

    def plug(self) -> None:
        """Put the cable back."""
        self.run("ip", "link", "set", "eth0", "up")

    def stop(self) -> None:
        """Switch it off."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        try:
            self.process.wait(20)  # it waits for the first process, which would be nobody's child otherwise
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def connect(hosts: Sequence[Host]) -> None:
    """Lay a cable from each host to a switch on the first."""
    server, *others = hosts
    server.run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    server.run("ip", "addr", "add", f"{server.address}/24", "dev", "br0")
    server.run("ip", "link", "set", "br0", "up")
    for number, host in enumerate(others):
        port = f"port{number}"
        # from outside, where the numbers of both first processes count; neither end is ever in this machine's network
        ends = [port, "netns", str(server.pid), "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
        subprocess.run(["ip", "link", "add", *ends], check=True)
        server.run("ip", "link", "set", port, "master", "br0", "up")
        host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
    for host in others:
        _wait_for_route(host, server)


def _wait_for_route(host: Host, server: Host) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with contextlib.suppress(RuntimeError):
            host.run("sh", "-c", f"ip route get {server.address}")
            return
        time.sleep(0.05)
    raise RuntimeError(f"{host.name} cannot reach {server.name}")
