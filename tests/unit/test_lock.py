"""The lease: takeover, and detection by the former holder, with real processes, signals and files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import ssi_pipeline.storage.state.lock as lock
from ssi_pipeline.errors import LockedError, LockLostError, OutputError
from ssi_pipeline.storage.state.lease_file import Holder, create, is_being_moved, is_held, read_holder, remove, renew
from ssi_pipeline.storage.state.lease_place import FileLease
from ssi_pipeline.storage.state.lock import Lease, Timing, clear_stale, is_locked, look_at_lock, run_lock
from ssi_pipeline.storage.state.process import Process, state_of, this_process

SHORT = Timing(renew=0.1, stale=2.0, settle=0.2, poll=0.02, trust=0.02)

PROLOGUE = f"""
import sys, time
from pathlib import Path
import ssi_pipeline.storage.state.lock as lock, ssi_pipeline.storage.state.process as process
from ssi_pipeline.errors import LockedError, LockLostError
from ssi_pipeline.storage.state.ledger import Ledger
from ssi_pipeline.storage.state.records import TaskRecord
lock.TIMING = lock.{SHORT!r}
path = Path(sys.argv[1])
"""

HOLD = """
with lock.run_lock(path) as lease:
    print("held", flush=True)
    sys.stdin.readline()
"""

ELSEWHERE = "process._where = lambda: ('another-boot', 'pid:[1]')\n"
"""Makes a client believe that it is another machine; its records in the lock are then those of one."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TIMING", SHORT)


class Client:
    """A process of its own that runs a few lines with the lock at hand."""

    def __init__(self, path: Path, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[list[Client]]:
    started: list[Client] = []
    yield started
    for client in started:
        client.kill()


def held(path: Path, clients: list[Client], code: str = HOLD) -> Client:
    clients.append(Client(path, code))
    assert clients[-1].line() == "held"
    return clients[-1]


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_one_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with run_lock(path, "part 3 of 8") as lease:
        assert is_locked(path)
        lease.check()
        with (
            pytest.raises(LockedError, match=rf"process {os.getpid()} on .*: part 3 of 8.*wait for it"),
            run_lock(path),
        ):
            pass
    assert files(tmp_path) == []
    assert not is_locked(path)


def test_a_lease_is_renewed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with run_lock(path):
        first = read_holder(path)
        time.sleep(5 * SHORT.renew)
        later = read_holder(path)
    assert first is not None
    assert later is not None
    assert later.counter > first.counter
    assert replace(later, counter=first.counter) == first


def test_a_killed_holder_of_this_machine_is_followed_at_once(tmp_path: Path, clients: list[Client]) -> None:
    path = tmp_path / "lock"
    client = held(path, clients)
    with pytest.raises(LockedError, match=f"process {client.process.pid} on"), run_lock(path):
        pass
    os.kill(client.process.pid, signal.SIGKILL)  # not waited for: a zombie is as dead
    until = time.monotonic() + 10
    while is_locked(path) and time.monotonic() < until:
        time.sleep(0.01)
    assert path.exists()
    said: list[str] = []
    with run_lock(path, say=said.append) as lease:
        lease.check()
    assert said == []


def test_a_process_number_used_again_is_not_the_holder() -> None:
    me = this_process()
    assert state_of(me) == "there"
    assert state_of(replace(me, started=me.started + "1")) == "gone"
    assert state_of(replace(me, boot="another")) == "elsewhere"
    assert state_of(replace(me, namespace="pid:[1]")) == "elsewhere"


def stop(client: Client) -> None:
    """Stop a client as a batch system suspends a job, and wait until it has stopped: a busy machine takes a moment."""
    os.kill(client.process.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(client.process.pid, os.WUNTRACED)[1])


def test_a_stopped_holder_loses_its_lease_and_writes_no_more(tmp_path: Path, clients: list[Client]) -> None:
    """SIGSTOP, as a batch system suspends a job, until another has taken over; then SIGCONT."""
    path, ledger = tmp_path / "lock", tmp_path / "ledger.jsonl"
    client = held(
        path,
        clients,
        """
with lock.run_lock(path) as lease, Ledger(path.with_name("ledger.jsonl"), lease.check) as ledger:
    ledger.append(TaskRecord("solve", 1, "done"))
    print("held", flush=True)
    sys.stdin.readline()
    for write in (lambda: ledger.append(TaskRecord("solve", 2, "done")), ledger.sync):
        try:
            write()
            print("wrote", flush=True)
        except LockLostError as error:
            print(error, flush=True)
""",
    )
    stop(client)
    client.go_on()
    before = ledger.read_bytes()
    said: list[str] = []
    with run_lock(path, say=said.append) as lease:
        assert len(said) == 1
        assert "it is stopped: waiting" in said[0]
        os.kill(client.process.pid, signal.SIGCONT)
        for _ in range(2):
            text = client.line()
            assert "another took over" in text
            assert f"process {os.getpid()} on" in text
        client.process.wait()
        lease.check()  # its end did not harm ours
    assert ledger.read_bytes() == before
    assert files(tmp_path) == ["ledger.jsonl"]


def test_a_stopped_holder_that_is_continued_in_time_keeps_its_lease(tmp_path: Path, clients: list[Client]) -> None:
    path = tmp_path / "lock"
    client = held(path, clients)
    stop(client)
    time.sleep(2 * SHORT.renew)
    os.kill(client.process.pid, signal.SIGCONT)
    time.sleep(3 * SHORT.renew)
    with pytest.raises(LockedError), run_lock(path):
        pass
    client.go_on()
    assert client.process.wait() == 0


@pytest.mark.parametrize("shift", [0, 3600, -3600])
def test_another_machine_alive_then_dead(tmp_path: Path, clients: list[Client], shift: int) -> None:
    """Clocks of the two machines may differ: only the newcomer's own clock is used."""
    path = tmp_path / "lock"
    skew = f"import time; now = time.time; time.time = lambda: now() + {shift}\n"
    client = held(path, clients, skew + ELSEWHERE + HOLD)
    shown = look_at_lock(path)
    assert shown is not None
    assert not shown.certain
    assert "judged by the age of its lock" in str(shown)
    began = time.monotonic()
    with pytest.raises(LockedError, match=f"process {client.process.pid} on .*: a run"), run_lock(path):
        pass
    assert time.monotonic() - began < SHORT.stale  # as soon as it is seen to live
    client.kill()
    assert is_locked(path)  # nobody can know yet
    said: list[str] = []
    began = time.monotonic()
    with run_lock(path, say=said.append) as lease:
        assert time.monotonic() - began >= SHORT.stale / 2
        lease.check()
    assert "cannot be seen from here: waiting up to 2 s" in said[0]


@pytest.mark.parametrize("shift", [3600, -3600])
def test_a_newcomer_with_a_wrong_clock(tmp_path: Path, clients: list[Client], shift: int) -> None:
    path = tmp_path / "lock"
    held(path, clients)
    skew = f"import time; now = time.time; time.time = lambda: now() + {shift}\n"
    code = """
print(lock.is_locked(path), flush=True)
try:
    with lock.run_lock(path):
        print("taken", flush=True)
except LockedError:
    print("refused", flush=True)
"""
    clients.append(Client(path, skew + ELSEWHERE + code))
    assert [clients[-1].line(), clients[-1].line()] == ["True", "refused"]


def test_status_by_age_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    create(path, Holder("token", "a run", Process("far", "another-boot", "", 7, "9")))
    assert is_locked(path)
    old = time.time() - 2 * SHORT.stale
    os.utime(path, (old, old))
    assert not is_locked(path)
    assert files(tmp_path) == ["lock"]


def test_one_of_eight_newcomers_takes_over(tmp_path: Path, clients: list[Client]) -> None:
    code = """
for line in sys.stdin:
    try:
        with lock.run_lock(Path(line.strip())) as lease:
            print("won", flush=True)
            sys.stdin.readline()
            try:
                lease.check()
                print("kept", flush=True)
            except LockLostError:
                print("lost", flush=True)
    except LockedError:
        print("refused", flush=True)
"""
    clients += [Client(tmp_path, code) for _ in range(8)]
    for client in clients:
        assert client.process.stdin is not None
    dead = replace(this_process(), started="0")
    for number in range(12):
        path = tmp_path / f"lock{number}"
        create(path, Holder("stale", "a run", dead))
        for client in clients:
            client.process.stdin.write(f"{path}\n")  # type: ignore[union-attr]
            client.process.stdin.flush()  # type: ignore[union-attr]
        answers = [client.line() for client in clients]
        assert sorted(answers) == ["refused"] * 7 + ["won"]
        winner = clients[answers.index("won")]
        winner.go_on()
        assert winner.line() == "kept"
        until = time.monotonic() + 10
        while path.exists() and time.monotonic() < until:
            time.sleep(0.01)
    assert files(tmp_path) == []


def test_what_was_moved_by_mistake_is_put_back(tmp_path: Path) -> None:
    """A newcomer that removes a stale lease too late finds the lease of a faster one."""
    path = tmp_path / "lock"
    mine = Holder("mine", "a run", this_process())
    create(path, mine)
    assert not remove(path, "stale")
    assert read_holder(path) == mine
    moved = tmp_path / ".lock.0.taken.partial"
    path.rename(moved)  # it stands between its two steps, and a third comes
    create(path, replace(mine, token="third"))
    assert is_being_moved(path)
    threading.Timer(SHORT.settle / 2, moved.replace, [path]).start()
    assert not is_held(path, mine, 0)
    time.sleep(SHORT.settle)
    assert is_held(path, mine, 0)
    path.rename(moved)
    threading.Timer(SHORT.settle / 2, moved.replace, [path]).start()
    assert is_held(path, mine, 2 * SHORT.settle)  # who looks meanwhile looks again
    assert remove(path, "mine")
    assert not remove(path, "mine")


def test_a_renewal_never_writes_over_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    former, heir = Holder("former", "a run", this_process()), Holder("heir", "a run", this_process())
    create(path, former)
    assert renew(path, replace(former, counter=7))
    assert remove(path, "former")
    create(path, heir)
    assert not renew(path, replace(former, counter=8))
    assert read_holder(path) == heir
    assert not create(path, former)


def test_a_file_that_is_no_lease_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for content in (b"", b"torn", b'{"host": "a", "pid": 3}'):
        path.write_bytes(content)
        assert not is_locked(path)
        with run_lock(path) as lease:
            lease.check()
    assert clear_stale(path) is None


def test_waiting_for_a_holder(tmp_path: Path, clients: list[Client]) -> None:
    path = tmp_path / "lock"
    client = held(path, clients)
    asked: list[Holder] = []

    def wait(holder: Holder) -> bool:
        asked.append(holder)
        client.go_on()
        return True

    with run_lock(path, wait_for=wait) as lease:
        lease.check()
    assert asked[0].process.pid == client.process.pid


def test_a_lost_folder_is_a_lost_lock(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with run_lock(folder / "lock") as lease:
        folder.rename(tmp_path / "aside")
        time.sleep(2 * SHORT.trust)
        with pytest.raises(LockLostError):
            lease.check()


class LateAnswers(FileLease):
    """A lease whose first answer comes late; meanwhile another client takes it over, or the place is out of reach."""

    late: list[float]
    broken: bool

    def is_held(self, holder: Holder, settle: float) -> bool:
        found = super().is_held(holder, settle)
        if self.late:
            self.remove(holder.token)
            self.create(replace(holder, token="heir"))
            time.sleep(self.late.pop())
        if self.broken:
            raise OSError(errno.ETIMEDOUT, "no answer")
        return found


@pytest.mark.parametrize("broken", [False, True])
def test_a_late_answer_is_not_believed(tmp_path: Path, broken: bool) -> None:
    kind = type("Late", (LateAnswers,), {"late": [0.1], "broken": broken})
    holder = Holder("ours", "a run", this_process())
    place = kind(tmp_path / "lock")
    assert place.create(holder)
    lease = Lease(place, holder, Timing(renew=60, stale=0.1, settle=0, trust=0))
    with pytest.raises(OutputError, match="does not respond") if broken else pytest.raises(LockLostError):
        lease.check()
    lease.release()
