"""Argument parser of the command ``ssi``; its commands are in ``cli.py``."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ssi_pipeline import __version__
from ssi_pipeline.exit_status import describe_statuses

Command = Callable[[argparse.Namespace], int]
"""Runs one command with its options; returns the exit status."""

Add = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command with its name and help; returns the parser of its options."""


def make_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser; its result has the function of the chosen command in ``command``."""
    parser = argparse.ArgumentParser(
        prog="ssi",
        description="Self-supervised deconvolution of microscopy volumes too large for memory.",
        epilog=describe_statuses(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ssi_pipeline {__version__}")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        """Add a command; its description is its help as a sentence."""
        sub = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=commands[name])
        sub.add_argument("--traceback", action="store_true", help="print the traceback of an error (also: SSI_DEBUG=1)")
        return sub

    init = add("init", "write a commented configuration file")
    init.add_argument("config", type=Path, help="file to write, for instance run.yaml")
    init.add_argument("--all", action="store_true", help="include all options (default: the ten most common ones)")
    add("schema", "print the JSON schema of the configuration, for editors and validation")
    _add_run(add)
    _add_results(add)
    _add_preview(add)
    _add_cluster(add)
    _add_benchmark(add)
    demo = add("demo", "solve an embedded example with known ground truth, and compare")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="output folder (default: demo-output)")
    return parser


def _add_run(add: Add) -> None:
    plan = add("plan", "show the tiling, cost and checks of a run without starting it")
    plan.add_argument(
        "--pilot", type=_count, metavar="N", help="solve N tiles to measure the time; results are discarded"
    )
    run = add("run", "start a run, or resume it with the same command")
    run.add_argument("--new", action="store_true", help="start over; an earlier run is moved to a backup")
    run.add_argument("--retry-failed", action="store_true", help="also retry tiles that failed before")
    run.add_argument("--ignore-disk", action="store_true", help="start even if the disk may be too small")
    run.add_argument(
        "--recreate-output",
        action="store_true",
        help="create a missing output again, for instance after a workflow manager deleted it",
    )
    run.add_argument("--part", metavar="K/N", help="run only part K of N, for job arrays")
    run.add_argument("--finish", action="store_true", help="complete the output after all parts are done")
    status = add("status", "show how many tiles are done, running, failed and pending")
    status.add_argument("--watch", action="store_true", help="update until the run is complete")
    status.add_argument("--every", type=_interval, default=2.0, metavar="SECONDS", help="for --watch (default: 2)")
    for sub in (plan, run, status):
        _add_config(sub)


def _add_results(add: Add) -> None:
    verify = add("verify", "read every written block back and compare it with the ledger")
    report = add("report", "write a self-contained HTML report of the run")
    report.add_argument("--output", type=Path, help="file to write (default: report.html in the state folder)")
    report.add_argument("--figures", type=Path, metavar="DIR", help="also write the figures here, as PNG and SVG")
    table = add("export", "write all metrics of all tiles to a table")
    table.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help=".csv or .parquet file (Parquet needs pyarrow)"
    )
    verify.add_argument(
        "--input", action="store_true", help="also check that the input has not changed since the tiles were solved"
    )
    for sub in (verify, report, table):
        _add_config(sub)


def _add_preview(add: Add) -> None:
    preview = add("preview", "solve a few representative tiles and show them; results are discarded")
    preview.add_argument("--tiles", type=int, default=6, metavar="N", help="number of tiles (default: 6)")
    preview.add_argument("--psf", type=Path, nargs="+", default=[], metavar="FILE", help="PSF files to compare")
    preview.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="values to compare, e.g. training.steps=100,500",
    )
    preview.add_argument("--output", type=Path, default=Path("preview-output"), help="output folder")
    _add_config(preview)


def _add_cluster(add: Add) -> None:
    cluster = add("cluster", "print the SLURM job script, or check the site")
    cluster.add_argument(
        "what",
        choices=("script", "check"),
        help="script: print the job script of the workers; check: test the site with two small jobs",
    )
    cluster.add_argument(
        "--nodes", type=_count, default=4, metavar="N", help="check: test up to N free nodes (default: 4)"
    )
    _add_config(cluster)


def _add_benchmark(add: Add) -> None:
    benchmark = add("benchmark", "compare all methods on images with ground truth; the same command resumes")
    benchmark.add_argument("--images", type=Path, metavar="DIR", help="PNG and TIFF images (default: scikit-image's)")
    benchmark.add_argument("--methods", metavar="A,B", help="methods to compare, by name (default: all)")
    benchmark.add_argument("--seeds", default="0", metavar="0,1,2", help="for stochastic methods (default: 0)")
    benchmark.add_argument("--output", type=Path, default=Path("benchmark-output"), help="output folder")
    benchmark.add_argument("--psf", type=Path, metavar="FILE", help="2D PSF, npy or tif (default: the benchmark's)")
    benchmark.add_argument("--crop", type=_count, metavar="N", help="use the central N x N pixels of each image")
    benchmark.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="number of single-threaded processes (default: 1)"
    )
    benchmark.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set an option of the solvers, as in a configuration",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="configuration file, for instance run.yaml")


def _count(text: str) -> int:
    # the pattern first: int() accepts 1_0 and digits of other alphabets, and is slow for very long numbers
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
