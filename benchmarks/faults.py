"""Inject faults into real runs, resume them, and compare the image with one that nobody disturbed.

python benchmarks/faults.py                     every fault, many times; writes docs/reliability-faults.md
python benchmarks/faults.py --only clients      some of them; the others' rows stay as they were
python benchmarks/faults.py --short             few times, nothing is written
python benchmarks/faults.py --s3 --few          outputs in S3 (moto); writes docs/reliability-faults-s3.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _faults_clients
import _faults_processes
import _faults_s3
import _faults_slurm
import _faults_storage
import psutil
from _faults import Bench, Fault, Tally, end_processes
from s3_server import s3_server

from ssi_pipeline.storage.atomic import write_json

FAULTS: tuple[Fault, ...] = (
    *_faults_processes.FAULTS,
    *_faults_storage.FAULTS,
    *_faults_clients.FAULTS,
    *_faults_slurm.FAULTS,
)
ON_S3: tuple[Fault, ...] = (
    *_faults_processes.FAULTS,
    *(fault for fault in _faults_storage.FAULTS if fault.name in ("shards", "ledger")),  # others are of the disk
    *_faults_clients.FAULTS,
    *_faults_s3.FAULTS,
)
BUILD, DOCUMENTS = Path("build"), Path(__file__).parents[1] / "docs"

WHERE = (
    "The input, the state folder and the scratch are on a disk, the output on a server of S3's protocol (moto) on this",
    "machine, behind a gate that makes its conditional writes one step and injects the faults of the last rows.",
)

Row = dict[str, Any]


def inject(bench: Bench, fault: Fault) -> Row:
    """Inject one fault as often as asked for; returns its row of the table."""
    began, tally, missing = time.monotonic(), Tally(), fault.missing()
    try:
        if missing is None:
            fault.inject(bench, tally)
    except Exception as problem:  # the other faults have a right to their turn
        tally.wrong.append(f"{type(problem).__name__}: {problem}")
    finally:
        end_processes()
    row = {"fault": fault.words, "name": fault.name, "missing": missing, **asdict(tally)}
    when = {"seconds": round(time.monotonic() - began), "date": time.strftime("%Y-%m-%d %H:%M")}
    return {**row, **when, "command": shlex.join(["python", *sys.argv])}


def is_good(row: Row) -> bool:
    """Tell whether all was as it should be."""
    return not row["wrong"] and not row["lost"] and row["equal"] == row["images"]


def line(row: Row) -> str:
    """Return a row as a line of the table."""
    if row["missing"]:
        cells: tuple[Any, ...] = (row["fault"], 0, f"not done: {row['missing']}", "", "", "")
    else:
        ends = ", ".join(f"{n} x {status}" for status, n in sorted(Counter(row["ends"]).items()))
        good = row["equal"] == row["images"] > 0
        image = f"{'equal' if good else 'DIFFERENT'}, {row['equal']} of {row['images']}"
        wrong = f"; NOT AS EXPECTED: {len(row['wrong'])}" if row["wrong"] else ""
        cells = (row["fault"], row["times"], ends + wrong, image, row["lost"] or "nothing", row["again"])
    return "| " + " | ".join(map(str, cells)) + " |"


def report(rows: list[Row], faults: Sequence[Fault] = FAULTS, s3: bool = False) -> str:
    """Return docs/reliability-faults.md, or that of outputs in S3."""
    memory = psutil.virtual_memory().total / 2**30
    dates = [row["date"] for row in rows]
    commands = ", ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    lines = [
        "# Injected faults, outputs in S3" if s3 else "# Injected faults",
        "",
        f"Rows of {min(dates)} to {max(dates)}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}.",
        f"Command: {commands}.",
        "Each fault is injected into a real `ssi run` of 24 tiles, started from the command line, with two dask",
        "workers or four in jobs of SLURM. The same command resumes it. Then every file of every level is compared",
        "with that of an undisturbed run, and all of it is read back as `ssi verify` does.",
        *(WHERE if s3 else ()),
        "",
        "- *ended*: number of calls of `ssi run` by exit status: 0 complete, 1 tiles failed, 2 refused, 3 stopped in",
        "  order, 137 killed. Where the fault ends a run, the resuming call follows.",
        "- *lost*: blocks that are missing or bad in the end, partly written files that were left, tiles that were",
        "  recorded and solved again although their result was still there.",
        "- *again*: tiles started more than once, by the workers' logs: those that ran at the fault, and those that",
        "  the fault itself destroyed.",
        "",
        "| fault | times | ended | image afterwards | lost | again |",
        "|---|---|---|---|---|---|",
        *map(line, rows),
        "",
        "Injection, and further expectations:",
        "",
        *(f"- {fault.words}. {' '.join((fault.inject.__doc__ or '').split())}" for fault in faults),
        "",
    ]
    return "\n".join(lines)


def run(faults: Sequence[Fault], few: bool, keep: Path | None, s3: bool = False) -> list[Row]:
    """Inject faults, one after the other; ``keep``: the folder of their rows, for the table."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="ssi-faults-") as folder, s3_server() if s3 else nullcontext() as server:
        bench = Bench(Path(folder), few, random.Random(time.time_ns()), server)
        for fault in faults:
            print(f"{time.strftime('%H:%M:%S')} {fault.name}: {fault.words}", flush=True)
            row = inject(bench, fault)
            rows.append(row)
            print(line(row), *row["wrong"], sep="\n", flush=True)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                write_json(keep / f"{fault.name}.json", row)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 where something was not as it should be."""
    known = list(dict.fromkeys(fault.name for fault in (*FAULTS, *ON_S3)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="A,B", help=f"some of {', '.join(known)}")
    parser.add_argument("--few", action="store_true", help="as few times as in the short form, but write the table")
    parser.add_argument("--short", action="store_true", help="those that take minutes, few times; nothing is written")
    parser.add_argument("--s3", action="store_true", help="outputs in S3: moto, in a process of its own")
    options = parser.parse_args(arguments)
    name, faults = ("faults-s3", ON_S3) if options.s3 else ("faults", FAULTS)
    chosen = [fault.name for fault in faults if fault.short or not options.short]
    names = set(options.only.split(",") if options.only else chosen)
    if unknown := names - {fault.name for fault in faults}:
        there = ", ".join(fault.name for fault in faults)
        parser.error(
            f"--only {', '.join(sorted(unknown))}: there are {there}{'' if options.s3 else ', more with --s3'}"
        )
    kept = None if options.short else BUILD / name
    rows = run([f for f in faults if f.name in names], options.few or options.short, kept, options.s3)
    if kept is not None:
        files = [kept / f"{fault.name}.json" for fault in faults]
        text = report([json.loads(p.read_text()) for p in files if p.is_file()], faults, options.s3)
        (DOCUMENTS / f"reliability-{name}.md").write_text(text)
        print(text)
    return 0 if all(map(is_good, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
