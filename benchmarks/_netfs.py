"""Network file systems between simulated hosts: one serves, two mount it, both at the same path.

The path is in a folder of this machine that all hosts see where their mount is lost: what is then written there is
found beneath it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from _hosts import NETWORK, Host, connect, missing


class Served:
    """Hosts and folders; the first host serves."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    hosts: ClassVar[int] = 3

    def __init__(self, folder: Path) -> None:
        self.folder, self.mount_point = folder / "server", folder / "shared"
        self.folder.mkdir()
        self.mount_point.mkdir()
        letters = "abcd"[: self.hosts]
        self._started: list[Host] = []
        try:
            for number, letter in enumerate(letters, 1):
                self._started.append(Host.start(f"netfs-{letter}", f"{NETWORK}.{number}"))
            connect(self._started)
        except BaseException:
            self.stop()
            raise
        self.server, self.clients = self._started[0], self._started[1:3]

    def stop(self) -> None:
        """Switch all hosts off; mounts and networks go with them."""
        for host in reversed(self._started):
            host.stop()

    def start_server(self) -> None:
        """Start it, or start it again."""
        raise NotImplementedError

    def mount(self, host: Host) -> None:
        """Mount it on a client."""
        raise NotImplementedError

    def kill_server(self) -> None:
        """SIGKILL to all that serves."""
        self.server.kill_all()

    def lose_mount(self, host: Host) -> None:
        """Take a client's mount away while programs use it."""
        host.run("umount", "--lazy", str(self.mount_point))

    def read(self, place: str) -> bytes:
        """Return a file's content as it is now; nothing where it is not there. Asked of the second client."""
        with contextlib.suppress(RuntimeError):
            return self.clients[1].run("cat", f"{self.mount_point}/{place}").encode()
        return b""

    def copy(self, place: str, target: Path) -> None:
        """Copy a folder out, as it is now."""
        self.clients[1].run("cp", "-r", f"{self.mount_point}/{place}", str(target))

    def is_mounted(self, host: Host) -> bool:
        """Tell whether a client has its mount."""
        return str(self.mount_point) in host.run("cat", "/proc/mounts")


class Sshfs(Served):
    """SFTP by OpenSSH: what one host changed the other sees in lists and sizes for up to 20 s as it was."""

    name = "sshfs"
    programs = ("sshfs", "ssh", "ssh-keygen", "sshd")

    def start_server(self) -> None:
        """Start the server, whose keys are made here and hold here alone."""
        if not (self.folder / "host").exists():
            (self.folder / "export").mkdir()
            for key in ("host", "user"):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
            (self.folder / "sshd.conf").write_text(self._settings())
        self.server.run("mkdir", "-p", "/run/sshd")
        self.server.run(_which("sshd"), "-f", str(self.folder / "sshd.conf"), "-E", str(self.folder / "sshd.log"))

    def _settings(self) -> str:
        return "\n".join(
            [
                f"ListenAddress {self.server.address}",
                f"HostKey {self.folder / 'host'}",
                f"AuthorizedKeysFile {self.folder / 'user.pub'}",
                "StrictModes no",
                "PermitRootLogin prohibit-password",
                "PasswordAuthentication no",
                "UsePAM no",
                "PidFile none",
                "Subsystem sftp internal-sftp",
                "MaxStartups 100",
                "",
            ]
        )

    def read(self, place: str) -> bytes:
        """Return a file's content as the server has it."""
        path = self.folder / "export" / place
        return path.read_bytes() if path.exists() else b""

    def copy(self, place: str, target: Path) -> None:
        """Copy what the server has."""
        shutil.copytree(self.folder / "export" / place, target)

    def mount(self, host: Host) -> None:
        """Mount it with its default caches."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        options.append(f"IdentityFile={self.folder / 'user'}")
        if self.is_mounted(host):
            host.run("umount", "--lazy", str(self.mount_point))
        place = f"root@{self.server.address}:{self.folder / 'export'}"
        host.run("sshfs", place, str(self.mount_point), "-o", ",".join(options))


class MooseFs(Served):
    """One master with one chunk server: clients wait for a server that is away."""

    name = "MooseFS"
    programs = ("mfsmaster", "mfschunkserver", "mfsmount")

    def start_server(self) -> None:
        """Start both; after a kill the master replays its logs."""
        if not (self.folder / "master").exists():
            self._configure()
        self.server.run("mfsmaster", "-a", "-c", str(self.folder / "master.cfg"), "start")
        self.server.run("mfschunkserver", "-c", str(self.folder / "chunk.cfg"), "start")

    def _configure(self) -> None:
        for name in ("master", "chunk", "disk"):
            (self.folder / name).mkdir()
        (self.folder / "master" / "metadata.mfs").write_bytes(Path("/var/lib/mfs/metadata.mfs.empty").read_bytes())
        (self.folder / "exports.cfg").write_text("* / rw,alldirs,admin,maproot=0:0\n* . rw\n")
        (self.folder / "disks.cfg").write_text(f"{self.folder / 'disk'}\n")
        (self.folder / "topology.cfg").write_text("")
        root = {"WORKING_USER": "root", "WORKING_GROUP": "root", "NICE_LEVEL": 0}
        address = self.server.address
        master = {
            "DATA_PATH": self.folder / "master",
            "EXPORTS_FILENAME": self.folder / "exports.cfg",
            "TOPOLOGY_FILENAME": self.folder / "topology.cfg",
            **dict.fromkeys(("MATOCL_LISTEN_HOST", "MATOCS_LISTEN_HOST", "MATOML_LISTEN_HOST"), address),
        }
        chunk = {
            "DATA_PATH": self.folder / "chunk",
            "HDD_CONF_FILENAME": self.folder / "disks.cfg",
            "MASTER_HOST": address,
            "CSSERV_LISTEN_HOST": address,
            "HDD_LEAVE_SPACE_DEFAULT": "256MiB",
        }
        for name, settings in (("master", master), ("chunk", chunk)):
            text = "".join(f"{key} = {value}\n" for key, value in {**root, **settings}.items())
            (self.folder / f"{name}.cfg").write_text(text)

    def mount(self, host: Host) -> None:
        """Mount it, and wait until the chunk server takes data."""
        host.run("mfsmount", str(self.mount_point), "-H", self.server.address)
        probe = self.mount_point / f".probe-{host.name}"
        _until(lambda: host.run("sh", "-c", f"echo x > {probe} && cat {probe} && rm {probe}"))


class Gluster(Served):
    """Two servers, each with a copy; the client writes behind and may lose appended lines when it is cut off."""

    name = "GlusterFS"
    programs = ("glusterd", "gluster", "glusterfs")
    hosts = 4

    def start_server(self) -> None:
        """Start both servers, and once a volume of two copies."""
        fresh = not (self.folder / "a").exists()
        for host in (self.server, self._started[3]):
            self._start_daemon(host)
        if fresh:
            self._make_volume()

    def _start_daemon(self, host: Host) -> None:
        own = self.folder / host.name[-1]
        places = {"lib": "/var/lib/glusterd", "run": "/var/run/gluster", "log": "/var/log/glusterfs"}
        for name, place in places.items():
            (own / name).mkdir(parents=True, exist_ok=True)
            if place not in host.run("cat", "/proc/mounts"):
                host.run("mkdir", "-p", place)
                host.run("mount", "--bind", str(own / name), place)
        host.run("sh", "-c", "pgrep -x glusterd || glusterd -p /var/run/gluster/glusterd.pid")
        _until(lambda: host.run("gluster", "--mode=script", "volume", "list"))

    def _make_volume(self) -> None:
        second = self._started[3]
        self._gluster("peer", "probe", second.address)

        def connected() -> None:
            if "Connected" not in self._gluster("peer", "status"):
                raise RuntimeError("not yet")

        _until(connected)
        time.sleep(1)
        bricks = [f"{host.address}:{self.folder / host.name[-1] / 'brick'}" for host in (self.server, second)]
        _until(lambda: self._gluster("volume", "create", "vol", "replica", "2", *bricks, "force"))
        self._gluster("volume", "start", "vol")
        self._gluster("volume", "set", "vol", "network.ping-timeout", "10")

    def _gluster(self, *arguments: str) -> str:
        return self.server.run("gluster", "--mode=script", *arguments)

    def mount(self, host: Host) -> None:
        """Mount it."""
        options = [f"--volfile-server={self.server.address}", "--volfile-id=vol"]
        options.append(f"--log-file={self.folder / host.name}.log")
        _until(lambda: self.is_mounted(host) or host.run("glusterfs", *options, str(self.mount_point)))
        _until(lambda: host.run("sh", "-c", f"mountpoint -q {self.mount_point} && ls {self.mount_point}"))


KINDS: tuple[type[Served], ...] = (MooseFs, Sshfs, Gluster)


def why_not(kind: type[Served]) -> str | None:
    """Return why a file system cannot be tried here, None where it can."""
    return missing(*kind.programs)


@contextlib.contextmanager
def served(kind: type[Served], folder: Path) -> Iterator[Served]:
    """Bring a file system up, mounted on both clients; nothing of it is left afterwards."""
    system = kind(folder)
    try:
        system.start_server()
        for host in system.clients:
            system.mount(host)
        yield system
    finally:
        system.stop()


def _until(what: Callable[[], object], seconds: float = 40) -> None:
    """Try something until it does not fail."""
    until = time.monotonic() + seconds
    while True:
        try:
            what()
        except (RuntimeError, subprocess.TimeoutExpired):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


def _which(program: str) -> str:
    """Return the full path: sshd starts itself again by it."""
    found = shutil.which(program)
    assert found is not None
    return found
