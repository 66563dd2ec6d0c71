"""The arguments of the command ``ssi``; what its commands do is in ``cli.py``."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.exit_status import describe_statuses

Command = Callable[[argparse.Namespace], int]
"""Does one command with its options; returns the exit status."""

Add = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command by its name and help; returns the parser of its options."""


def make_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser, which puts into ``command`` of its result what ``commands`` has for the name given."""
    parser = argparse.ArgumentParser(
        prog="ssi",
        description="Self-supervised deconvolution of microscopy volumes too large for memory.",
        epilog=describe_statuses(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ssi_pipeline {__version__}")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        """Add a command; its help is its description, as a sentence."""
        sub = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=commands[name])
        sub.add_argument("--traceback", action="store_true", help="show the traceback of an error, as SSI_DEBUG=1 does")
        return sub

    init = add("init", "write a commented configuration to edit")
    init.add_argument("config", type=Path, help="the file to write, for instance run.yaml")
    init.add_argument("--all", action="store_true", help="with all options (default: the ten that are set first)")
    add("schema", "print the JSON schema of a configuration, for editors and checks")
    _add_run(add)
    _add_results(add)
    _add_preview(add)
    _add_cluster(add)
    _add_benchmark(add)
    demo = add("demo", "solve an embedded example whose truth is known, and compare")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for everything it writes")
    return parser


def _add_run(add: Add) -> None:
    plan = add("plan", "tell what a run will do and at what cost; touches nothing")
    plan.add_argument(
        "--pilot", type=_count, metavar="N", help="solve N tiles, without keeping them, to measure the time"
    )
    run = add("run", "do it; the same command resumes")
    run.add_argument("--new", action="store_true", help="start over; an earlier run on this output is kept aside")
    run.add_argument("--retry-failed", action="store_true", help="also take up the tiles that failed before")
    run.add_argument("--ignore-disk", action="store_true", help="start although the disk may be too small")
    run.add_argument(
        "--recreate-output",
        action="store_true",
        help="make the output again where it is missing, as after a workflow manager has deleted it",
    )
    run.add_argument("--part", metavar="K/N", help="only the K-th of N parts, for the jobs of an array")
    run.add_argument("--finish", action="store_true", help="complete the output when all parts are done")
    status = add("status", "tell what is done, running, failed and to do")
    status.add_argument("--watch", action="store_true", help="look again and again until the run is complete")
    status.add_argument("--every", type=_interval, default=2.0, metavar="SECONDS", help="with --watch (default: 2)")
    for sub in (plan, run, status):
        _add_config(sub)


def _add_results(add: Add) -> None:
    verify = add("verify", "read every block back and compare it with the ledger")
    report = add("report", "write a single HTML file about the run")
    report.add_argument("--output", type=Path, help="where to write it (default: report.html in the state folder)")
    report.add_argument("--figures", type=Path, metavar="DIR", help="also write its pictures there, as PNG and SVG")
    table = add("export", "write every metric of every tile as a table")
    table.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a .csv, or a .parquet (needs pyarrow)"
    )
    verify.add_argument(
        "--input", action="store_true", help="also read the input again: is it what each tile was made from?"
    )
    for sub in (verify, report, table):
        _add_config(sub)


def _add_preview(add: Add) -> None:
    preview = add("preview", "solve a few different tiles, without keeping them, and show what comes of it")
    preview.add_argument("--tiles", type=int, default=6, metavar="N", help="how many (default: 6)")
    preview.add_argument("--psf", type=Path, nargs="+", default=[], metavar="FILE", help="compare these PSFs")
    preview.add_argument(
        "--set", action="append", default=[], metavar="KEY=A,B", help="compare values, e.g. training.steps=100,500"
    )
    preview.add_argument("--output", type=Path, default=Path("preview-output"), help="folder for all it writes")
    _add_config(preview)


def _add_cluster(add: Add) -> None:
    cluster = add("cluster", "prepare a run on SLURM")
    cluster.add_argument(
        "what",
        choices=("script", "check"),
        help="script: print a job's script; check: prove a site, by two jobs",
    )
    cluster.add_argument(
        "--nodes", type=_count, default=4, metavar="N", help="check: compare up to N nodes, as are free (default: 4)"
    )
    _add_config(cluster)


def _add_benchmark(add: Add) -> None:
    benchmark = add("benchmark", "run the published comparison of methods; the same command resumes")
    benchmark.add_argument("--images", type=Path, metavar="DIR", help="png and tif (default: some of scikit-image's)")
    benchmark.add_argument("--methods", metavar="A,B", help="rows of the table, by name (default: all)")
    benchmark.add_argument("--seeds", default="0", metavar="0,1,2", help="for methods with chance in them (default: 0)")
    benchmark.add_argument("--output", type=Path, default=Path("benchmark-output"), help="folder for all it writes")
    benchmark.add_argument("--psf", type=Path, metavar="FILE", help="instead of the benchmark's own (npy or tif, 2D)")
    benchmark.add_argument("--crop", type=_count, metavar="N", help="only the middle N x N pixels of each image")
    benchmark.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes of one thread (default: 1)"
    )
    benchmark.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the solvers, as in a configuration",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the configuration, for instance run.yaml")


def _count(text: str) -> int:
    # the first: Python takes 1_0 and other alphabets' digits as well, and minutes for a million digits
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 9999999, found {text[:40]!r}")
    return int(text)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 86400 seconds, found {text[:40]!r}")
    return seconds
