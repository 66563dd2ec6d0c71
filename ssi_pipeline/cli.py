"""Command line ``ssi``; torch and dask are imported only in the commands that need them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ssi_pipeline.config import load_config
from ssi_pipeline.error_handler import run_command
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.interrupts import handling, interrupt
from ssi_pipeline.parser import Command, make_parser


class _Screen(Console):
    """Standard output for plain text, without markup in brackets and ``:emoji:``."""

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Raise for the error handler; rich would exit with the status of failed tiles."""
        raise BrokenPipeError


_out = _Screen()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (``ExitStatus``)."""
    options = argparse.Namespace(traceback=False)

    def call() -> int:
        """Parse the command line and run the command; SIGTERM and SIGHUP raise KeyboardInterrupt."""
        make_parser(_COMMANDS).parse_args(arguments, options)
        command: Command = options.command
        with handling(interrupt):
            return command(options)

    return int(run_command(call, lambda: _state_folder(options), lambda: bool(options.traceback)))


def _state_folder(options: argparse.Namespace) -> Path | None:
    config: Path | None = getattr(options, "config", None)
    return load_config(config).state_path if config is not None and config.is_file() else None


def _init(options: argparse.Namespace) -> int:
    from ssi_pipeline.config.template import first_template_text, template_text

    path: Path = options.config
    if path.exists():
        raise ConfigError(f"{path} exists: choose another name, or remove it")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    with path.open("x", encoding="utf-8") as stream:  # "x": also refuses a file created meanwhile
        stream.write(template_text() if options.all else first_template_text())
    _out.print(f"wrote {path}: set input.path, output.path and psf, then `ssi plan {path}`")
    return ExitStatus.COMPLETE


def _schema(options: argparse.Namespace) -> int:  # noqa: ARG001 no options
    from ssi_pipeline.config.schema import config_schema

    print(json.dumps(config_schema(), indent=2))
    return ExitStatus.COMPLETE


def _plan(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.planning import checked_plan, describe_plan

    checked_plan(
        load_config(options.config),
        options.pilot,
        lambda prepared, time: _print_rows(describe_plan(prepared, time)),
    )
    return ExitStatus.COMPLETE


def _preview(options: argparse.Namespace) -> int:
    from ssi_pipeline.preview.preview import preview

    config = load_config(options.config)
    preview(config, options.tiles, options.psf, options.set, options.output, _out)
    return ExitStatus.COMPLETE


def _run(options: argparse.Namespace) -> int:
    from ssi_pipeline.run import run

    if options.part is not None or options.finish:
        return _run_in_parts(options)
    if options.new and options.recreate_output:
        raise ConfigError("--new and --recreate-output are exclusive: --new always creates an output")
    config = load_config(options.config)
    outcome = run(
        config,
        new=options.new,
        retry_failed=options.retry_failed,
        ignore_disk=options.ignore_disk,
        name=str(options.config),
        recreate_output=options.recreate_output,
    )
    return outcome.exit_status


def _run_in_parts(options: argparse.Namespace) -> int:
    from ssi_pipeline.run import finish_parts, run_part
    from ssi_pipeline.storage.state.parts import parse_part

    if options.part is not None and options.finish:
        raise ConfigError("--part and --finish are exclusive: finish when all parts are done")
    if options.new:
        raise ConfigError("--new excludes --part and --finish: move the earlier output and state away instead")
    if options.recreate_output:
        raise ConfigError("--recreate-output excludes --part and --finish: other parts may be writing to the output")
    if options.finish and options.retry_failed:
        raise ConfigError("--retry-failed excludes --finish, which solves no tiles: use it with --part")
    if options.part is not None:
        part = parse_part(options.part)
        outcome = run_part(load_config(options.config), part, options.retry_failed, options.ignore_disk)
    else:
        outcome = finish_parts(load_config(options.config), str(options.config))
    return outcome.exit_status


def _status(options: argparse.Namespace) -> int:
    from ssi_pipeline.results.status import describe_status, read_status
    from ssi_pipeline.results.watch import watch

    config = load_config(options.config)
    if options.watch:
        try:
            status = watch(config, str(options.config), options.every, Console())
        except KeyboardInterrupt:  # nothing was running here
            return ExitStatus.INTERRUPTED
    else:
        status = read_status(config)
        _print_rows(describe_status(status, str(options.config)))
    if status.tiles_failed or status.causes:
        return ExitStatus.FAILED
    done = status.image_complete and status.finished and not status.running
    return ExitStatus.COMPLETE if done else ExitStatus.UNFINISHED


def _verify(options: argparse.Namespace) -> int:
    from ssi_pipeline.run.checks.verify import verify

    same = _verify_input(options) if options.input else True
    result = verify(load_config(options.config))
    for problem in (*result.damage, *result.problems):
        _out.print(problem)
    if result.damage:
        _out.print(f"{len(result.damage)} files of the run are damaged: repair them with `ssi run`, then verify again")
    if result.unread:
        _out.print(f"{result.unread} blocks were not checked")
        return ExitStatus.FAILED
    checked = result.blocks - result.missing
    _out.print(f"{checked - len(result.problems)} of {result.blocks} blocks are good", end="")
    _out.print(f", {result.missing} pending" if result.missing else "", end="")
    _out.print(f", {len(result.problems)} bad" if result.problems else "")
    if result.problems:
        _out.print(
            "recorded: `ssi run` computes them again"
            if result.recorded
            else "not recorded: the run is active, or its folders are read-only; verify again later"
        )
    if result.problems or result.damage or not same:
        return ExitStatus.FAILED
    return ExitStatus.COMPLETE if result.good else ExitStatus.UNFINISHED


def _verify_input(options: argparse.Namespace) -> bool:
    from ssi_pipeline.run.checks.verify_input import describe_input, verify_input

    found = verify_input(load_config(options.config))
    for line in describe_input(found):
        _out.print(line)
    return not (found.changed or found.unreadable)


def _report(options: argparse.Namespace) -> int:
    from ssi_pipeline.report import write_report

    path = write_report(load_config(options.config), options.output, options.figures, str(options.config))
    _out.print(f"wrote {path}")
    if options.figures is not None:
        _out.print(f"wrote {len(list(options.figures.glob('*.svg')))} figures, PNG and SVG, to {options.figures}")
    return ExitStatus.COMPLETE


def _export(options: argparse.Namespace) -> int:
    from ssi_pipeline.results.export import export

    tiles = export(load_config(options.config), options.output)
    _out.print(f"wrote {options.output}: {tiles} tiles")
    return ExitStatus.COMPLETE


def _cluster(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if options.what == "script":
        from ssi_pipeline.cluster.script import script_text

        _out.print(script_text(config), end="")
        return ExitStatus.COMPLETE
    from ssi_pipeline.cluster.check import check

    good = check(config, _out.print, options.nodes)
    return ExitStatus.COMPLETE if good else ExitStatus.FAILED


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
        _out.print(f"{name:<{width}}  {value}")


_COMMANDS: dict[str, Command] = {
    "init": _init,
    "schema": _schema,
    "plan": _plan,
    "run": _run,
    "status": _status,
    "verify": _verify,
    "report": _report,
    "export": _export,
    "preview": _preview,
    "cluster": _cluster,
    "benchmark": _benchmark,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
