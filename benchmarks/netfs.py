"""Faults of real network file systems between simulated hosts of this machine; the table of docs/reliability.md.

Needs root and Linux, and for each file system its Debian packages: sshfs openssh-server; moosefs-master
moosefs-chunkserver moosefs-client; glusterfs-server glusterfs-client. What cannot be tried here is said and left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _netfs import KINDS, Served, served, why_not
from _netfs_faults import FAULTS, Bench, Case, meet, write_template

os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where daemons are; sudo and cron leave it out

Row = tuple[str, str, Case]


def measure(kind: type[Served], folder: Path, tiles: int, stale: float, cut_s: float, only: Sequence[str]) -> list[Row]:
    """Try the faults on one file system."""
    expected = write_template(folder / "template", tiles)
    rows = []
    with served(kind, folder) as system:
        bench = Bench(system, folder, expected, tiles * tiles, stale, cut_s)
        for name, fault in FAULTS.items():
            if only and fault.__name__ not in only:
                continue
            case = meet(bench, fault)
            print(
                f"{time.strftime('%H:%M:%S')} {kind.name}, {name}: {case.ends} {case.wrong or 'as expected'}",
                flush=True,
            )
            rows.append((kind.name, name, case))
    return rows


def report(rows: Sequence[Row]) -> str:
    """Return the table, in markdown."""
    lines = [
        f"| {fs} | {fault} | {', '.join(case.ends)} | {'; '.join(case.wrong) or 'none'} |" for fs, fault, case in rows
    ]
    head = ["| file system | fault | exit statuses | wrong |", "|---|---|---|---|"]
    wrong = sum(bool(case.wrong) for _, _, case in rows)
    return "\n".join(
        [f"{time.strftime('%Y-%m-%d')}: {len(rows)} faults, {wrong} of them went wrong.", "", *head, *lines]
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", default="MooseFS,sshfs,GlusterFS", help="file systems, separated by commas")
    parser.add_argument("--only", default="", help=f"of {', '.join(fault.__name__ for fault in FAULTS.values())}")
    parser.add_argument("--stale", type=float, default=60.0, help="seconds after which a lease is stale (default: 60)")
    parser.add_argument("--cut", type=float, default=30.0, help="seconds without server or cable (default: 30)")
    parser.add_argument("--tiles", type=int, default=8, help="tiles along y and x (default: 8)")
    parser.add_argument("--short", action="store_true", help="MooseFS and sshfs, few tiles, two faults, short times")
    options = parser.parse_args(arguments)
    if options.short:
        options.on, options.only, options.stale, options.cut, options.tiles = (
            "MooseFS,sshfs",
            "parts,two_states",
            12,
            5,
            4,
        )
    rows = []
    for kind in KINDS:
        if kind.name not in options.on.split(","):
            continue
        if (reason := why_not(kind)) is not None:
            print(f"{kind.name} is left out: {reason}", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="ssi-netfs-") as name:
            only = list(filter(None, options.only.split(",")))
            rows += measure(kind, Path(name), options.tiles, options.stale, options.cut, only)
    print(report(rows))
    return 1 if any(case.wrong for _, _, case in rows) else 0


if __name__ == "__main__":
    sys.exit(run())
