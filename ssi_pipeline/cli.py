"""The command ``ssi``. Light to start: torch and dask are imported only where they are needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from ssi_pipeline import __version__
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import ConfigError, SsiError, StoppedError
from ssi_pipeline.redact import redact

OK, INCOMPLETE, REFUSED, INTERRUPTED = 0, 1, 2, 130

_out = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status.

    0: done. 1: tiles failed, or something is wrong with the data. 2: refused before any work, with the
    reason on standard error. 130: stopped by the user, can be resumed.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BrokenPipeError:
        return OK
    except StoppedError as error:
        print(f"ssi: {redact(str(error))}", file=sys.stderr)
        return INCOMPLETE
    except (SsiError, OSError) as error:
        print(f"ssi: {redact(str(error))}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("ssi: stopped; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssi", description="Self-supervised deconvolution of microscopy volumes too large for memory."
    )
    parser.add_argument("--version", action="version", version=f"ssi_pipeline {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    init = add("init", _init, "write a commented configuration to edit")
    init.add_argument("config", type=Path, help="the file to write, for instance run.yaml")
    plan = add("plan", _plan, "tell what a run will do and at what cost; touches nothing")
    plan.add_argument("--pilot", type=int, metavar="N", help="solve N tiles, without keeping them, to measure the time")
    run = add("run", _run, "do it; the same command resumes")
    run.add_argument("--new", action="store_true", help="start over; an earlier run on this output is kept aside")
    run.add_argument("--retry-failed", action="store_true", help="also take up the tiles that failed before")
    run.add_argument("--ignore-disk", action="store_true", help="start although the disk may be too small")
    run.add_argument("--part", metavar="K/N", help="only the K-th of N parts, for the jobs of an array")
    run.add_argument("--finish", action="store_true", help="complete the output when all parts are done")
    status = add("status", _status, "tell what is done, running, failed and to do")
    status.add_argument("--watch", action="store_true", help="look again and again until the run is complete")
    status.add_argument("--every", type=_interval, default=2.0, metavar="SECONDS", help="with --watch (default: 2)")
    verify = add("verify", _verify, "read every block back and compare it with the ledger")
    report = add("report", _report, "write a single HTML file about the run")
    report.add_argument("--output", type=Path, help="where to write it (default: report.html in the state folder)")
    report.add_argument("--figures", type=Path, metavar="DIR", help="also write its pictures there, as PNG and SVG")
    table = add("export", _export, "write every metric of every tile as a table")
    table.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a .csv, or a .parquet (needs pyarrow)"
    )
    preview = add("preview", _preview, "solve a few different tiles, without keeping them, and show what comes of it")
    preview.add_argument("--tiles", type=int, default=6, metavar="N", help="how many (default: 6)")
    preview.add_argument("--psf", type=Path, nargs="+", default=[], metavar="FILE", help="compare these PSFs")
    preview.add_argument(
        "--set", action="append", default=[], metavar="KEY=A,B", help="compare values, e.g. training.steps=100,500"
    )
    preview.add_argument("--output", type=Path, default=Path("preview-output"), help="folder for all it writes")
    for sub in (plan, preview, run, status, verify, report, table):
        sub.add_argument("config", type=Path, help="the configuration, for instance run.yaml")
    cluster = add("cluster", _cluster, "prepare a run on SLURM")
    cluster.add_argument(
        "what", choices=("script", "check"), help="script: print a job's script; check: prove a site with one small job"
    )
    cluster.add_argument("config", type=Path, help="the configuration, for instance run.yaml")
    benchmark = add("benchmark", _benchmark, "run the published comparison of methods; the same command resumes")
    benchmark.add_argument("--images", type=Path, metavar="DIR", help="png and tif (default: some of scikit-image's)")
    benchmark.add_argument("--methods", metavar="A,B", help="rows of the table, by name (default: all)")
    benchmark.add_argument("--seeds", default="0", metavar="0,1,2", help="for methods with chance in them (default: 0)")
    benchmark.add_argument("--output", type=Path, default=Path("benchmark-output"), help="folder for all it writes")
    benchmark.add_argument("--psf", type=Path, metavar="FILE", help="instead of the benchmark's own (npy or tif, 2D)")
    benchmark.add_argument("--crop", type=int, metavar="N", help="only the middle N x N pixels of each image")
    benchmark.add_argument("--workers", type=int, default=1, metavar="N", help="processes of one thread (default: 1)")
    benchmark.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the solvers, as in a configuration",
    )
    demo = add("demo", _demo, "solve an embedded example whose truth is known, and compare")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for everything it writes")
    return parser


def _init(options: argparse.Namespace) -> int:
    from ssi_pipeline.config.template import template_text

    path: Path = options.config
    if path.exists():
        raise ConfigError(f"{path} exists: choose another name, or remove it")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    path.write_text(template_text())
    _out.print(f"wrote {path}: set input.path, output.path and psf, then `ssi plan {path}`")
    return OK


def _plan(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.planning import describe_plan, time_from_ledger, time_from_pilot
    from ssi_pipeline.run.prepare import prepare
    from ssi_pipeline.run.setup import check_output

    config = load_config(options.config)
    prepared = prepare(config)
    check_output(prepared, new=False, ignore_disk=False)
    time = time_from_pilot(config, options.pilot) if options.pilot else time_from_ledger(prepared)
    _print_rows(describe_plan(prepared, time))
    return OK


def _preview(options: argparse.Namespace) -> int:
    from ssi_pipeline.preview.preview import preview

    config = load_config(options.config)
    preview(config, options.tiles, options.psf, options.set, options.output, _out)
    return OK


def _run(options: argparse.Namespace) -> int:
    from ssi_pipeline.run import run

    if options.part is not None or options.finish:
        return _run_in_parts(options)
    config = load_config(options.config)
    outcome = run(
        config,
        new=options.new,
        retry_failed=options.retry_failed,
        ignore_disk=options.ignore_disk,
        name=str(options.config),
    )
    if outcome.interrupted:
        return INTERRUPTED
    return OK if outcome.complete else INCOMPLETE


def _run_in_parts(options: argparse.Namespace) -> int:
    from ssi_pipeline.run import Outcome, PartOutcome, finish_parts, run_part
    from ssi_pipeline.storage.parts import parse_part

    if options.part is not None and options.finish:
        raise ConfigError("--part and --finish exclude each other: finish when all parts are done")
    if options.new:
        raise ConfigError("--new starts over alone: with --part or --finish, move the earlier output and state away")
    if options.finish and options.retry_failed:
        raise ConfigError("--retry-failed goes with --part, or without parts: --finish solves no tiles")
    outcome: PartOutcome | Outcome
    if options.part is not None:
        part = parse_part(options.part)
        outcome = run_part(load_config(options.config), part, options.retry_failed, options.ignore_disk)
    else:
        outcome = finish_parts(load_config(options.config), str(options.config))
    if outcome.interrupted:
        return INTERRUPTED
    return OK if outcome.complete else INCOMPLETE


def _status(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.status import describe_status, read_status
    from ssi_pipeline.run.watch import watch

    config = load_config(options.config)
    if options.watch:
        try:
            status = watch(config, str(options.config), options.every, Console())
        except KeyboardInterrupt:  # nothing was under way here: there is nothing to say
            return INTERRUPTED
    else:
        status = read_status(config)
        _print_rows(describe_status(status, str(options.config)))
    return INCOMPLETE if status.tiles_failed else OK


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 86400 seconds, found {text}")
    return seconds


def _verify(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.verify import verify

    result = verify(load_config(options.config))
    for problem in result.problems:
        _out.print(problem, markup=False)
    checked = result.blocks - result.missing
    _out.print(f"{checked - len(result.problems)} of {result.blocks} blocks are good", end="")
    _out.print(f", {result.missing} are not written yet" if result.missing else "", end="")
    _out.print(f", {len(result.problems)} are bad" if result.problems else "")
    if result.problems:
        noted = (
            "noted: `ssi run` computes them again" if result.recorded else "a run is going on: verify again after it"
        )
        _out.print(noted)
    return OK if result.good else INCOMPLETE


def _report(options: argparse.Namespace) -> int:
    from ssi_pipeline.report import write_report

    path = write_report(load_config(options.config), options.output, options.figures, str(options.config))
    _out.print(f"wrote {path}")
    if options.figures is not None:
        _out.print(f"wrote {len(list(options.figures.glob('*.svg')))} figures, PNG and SVG, to {options.figures}")
    return OK


def _export(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.export import export

    tiles = export(load_config(options.config), options.output)
    _out.print(f"wrote {options.output}: {tiles} tiles")
    return OK


def _cluster(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if options.what == "script":
        from ssi_pipeline.cluster.script import script_text

        _out.print(script_text(config), markup=False, end="")
        return OK
    from ssi_pipeline.cluster.check import check

    return OK if check(config, lambda text: _out.print(text, markup=False)) else INCOMPLETE


def _demo(options: argparse.Namespace) -> int:
    from ssi_pipeline.demo.demo import demo

    return demo(options.output)


def _benchmark(options: argparse.Namespace) -> int:
    from ssi_pipeline.benchmark.command import benchmark
    from ssi_pipeline.benchmark.setup import Options

    return benchmark(
        Options(
            output=options.output,
            images=options.images,
            methods=options.methods,
            seeds=options.seeds,
            psf=options.psf,
            crop=options.crop,
            workers=options.workers,
            changes=tuple(options.set),
        )
    )


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        _out.print(f"{name:<{width}}  {value}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
