"""Faults of storage: harmed files, a torn ledger, a full disk, a file system that turns read-only."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from _faults import SSI, Bench, Case, Fault, Tally
from kill import TILES

from ssi_pipeline.storage.store import store_of

_GRID = (2, 2, 6)
"""Blocks of the case along z, y and x."""


def _flip_a_bit(content: bytes) -> bytes:
    values = bytearray(content)
    values[len(values) // 3] ^= 4
    return bytes(values)


_HARMS: tuple[Callable[[bytes], bytes | None], ...] = (
    lambda content: content[:-7],
    lambda _: b"",
    lambda _: None,  # deleted
    _flip_a_bit,
)


def harmed_blocks(bench: Bench, tally: Tally) -> None:
    """One block each of a finished run; `ssi verify` finds these, `ssi run` writes these again, and no others."""
    case = bench.case()
    tally.ended(case.start(), 0)
    for _ in bench.times(1, 5):
        harmed = sorted(bench.rng.sample(range(TILES), len(_HARMS)))
        for index, harm in zip(harmed, bench.rng.sample(_HARMS, len(_HARMS)), strict=True):
            _harm(case, index, harm)
        tally.times += len(harmed)
        status, words = _verify(case)
        found = [index for index in range(TILES) if f"stitch/{index} (" in words]
        tally.expect(status == 1 and found == harmed, f"verify found {found}, {harmed} were harmed")
        before = len(case.indices("stitch", "done"))
        tally.ended(case.start(), 0)
        again = sorted(case.indices("stitch", "done")[before:])
        tally.expect(again == harmed, f"blocks {again} were written again, {harmed} were harmed")
        tally.expect(_verify(case)[0] == 0, "verify still finds something")
    tally.judge(case, bench.expected(), destroyed=True)  # their tiles had left the scratch


def _harm(case: Case, index: int, harm: Callable[[bytes], bytes | None]) -> None:
    """Harm a block of the output."""
    _, rows, columns = _GRID
    z, rest = divmod(index, rows * columns)
    store, key = store_of(case.output), "/".join(("0/c", str(z), *map(str, divmod(rest, columns))))
    content = harm(store.read(key))
    store.delete(key) if content is None else store.write(key, content)


def _verify(case: Case) -> tuple[int, str]:
    done = subprocess.run([*SSI, "verify", str(case.config)], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def torn_ledger(bench: Bench, tally: Tally) -> None:
    """Cut anywhere, as a crash of the machine may leave it."""
    for _ in bench.times(1, 4):
        case = bench.case()
        call = case.start(sleep=0.7)
        call.wait_for(lambda case=case: case.done() >= 5)
        tally.killed(call)
        ledger = case.state / "ledger.jsonl"
        content = ledger.read_bytes()
        last = len(content.splitlines()[-1])
        ledger.write_bytes(content[: len(content) - bench.rng.randint(1, last)])
        tally.ended(case.start(), 0)
        tally.judge(case, bench.expected())


def full_disk(bench: Bench, tally: Tally) -> None:
    """In the middle of the run, or before its first tile (status 2); the run reports it and resumes with more space."""
    without = bench.undisturbed()
    for number in bench.times(1, 5):
        folder = bench.new_folder()
        share = bench.rng.uniform(0.1, 0.9) if bench.few else (0.01, 0.2, 0.45, 0.7, 0.95)[number]
        size = round(without.before + share * (without.after - without.before))  # and scratch, while it runs
        with _mounted("-t", "tmpfs", "-o", f"size={size}", "ssi-faults", str(folder)):
            case = bench.case(folder=folder)
            tally.times += 1
            tally.ended(case.start("--ignore-disk", sleep=0.3), (2, 3), "o space")
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            tally.ended(case.start(), 0)
            tally.judge(case, bench.expected())


def read_only_scratch(bench: Bench, tally: Tally) -> None:
    """A bind mount of it, remounted; the run stops in order, and resumes when it is writable again."""
    for _ in bench.times(1, 3):
        case = bench.case()
        call = case.start(sleep=0.7)
        call.wait_for(lambda case=case: case.done() >= 5)
        (scratch,) = case.state.glob("scratch-*.zarr")
        with _mounted("--bind", str(scratch), str(scratch)):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(scratch)], check=True)
            tally.times += 1
            tally.ended(call, 3, "Read-only file system", "run again to resume")
            subprocess.run(["mount", "-o", "remount,bind,rw", str(scratch)], check=True)
        tally.ended(case.start(), 0)
        tally.judge(case, bench.expected())


@contextmanager
def _mounted(*words: str) -> Iterator[None]:
    """Mount something; the last word is where."""
    subprocess.run(["mount", *words], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", words[-1]], check=True)


def no_mounts() -> str | None:
    """Tell why nothing can be mounted here."""
    if os.name != "posix" or os.geteuid() != 0:
        return "mounting needs root"
    with tempfile.TemporaryDirectory() as folder:
        words = ["mount", "-t", "tmpfs", "-o", "size=1m", "ssi-faults", folder]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"nothing can be mounted: {error}"
        if done.returncode:
            return f"nothing can be mounted: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return None


FAULTS = (
    Fault("shards", "shards truncated, emptied, deleted, a bit flipped", harmed_blocks),
    Fault("ledger", "client killed, last line of the ledger torn", torn_ledger),
    Fault("full", "disk full (a small tmpfs), then enlarged", full_disk, no_mounts),
    Fault("read-only", "scratch turns read-only while running", read_only_scratch, no_mounts),
)
