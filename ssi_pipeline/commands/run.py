"""The commands plan, run and status."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ssi_pipeline.commands import many
from ssi_pipeline.commands.screen import Screen, named, note
from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from ssi_pipeline.run.planning import TimeEstimate
    from ssi_pipeline.run.prepare import Prepared


def plan(options: argparse.Namespace) -> int:
    """Print the plan of a run; its time is measured with ``--pilot``."""
    from ssi_pipeline.commands.documents import plan_document
    from ssi_pipeline.commands.first_try import first_try
    from ssi_pipeline.run.planning import checked_plan, describe_plan

    screen, config = Screen(options), many.choose(options)
    if not isinstance(config, RunConfig):
        return many.plan(options, config)

    def show(prepared: Prepared, time: TimeEstimate | None) -> None:
        """Print the plan, and what to try first."""
        screen.result(describe_plan(prepared, time), plan_document(prepared, time))
        for line in first_try(prepared, time, named(options)):
            screen.hint(line)

    checked_plan(config, options.pilot, show)
    return ExitStatus.COMPLETE


def run(options: argparse.Namespace) -> int:
    """Start or resume a run, or a part of it."""
    from ssi_pipeline.run import finish_parts, follow, run, run_part
    from ssi_pipeline.run.growth.checks import refuse_unfollowable
    from ssi_pipeline.run.outcome import describe_outcome
    from ssi_pipeline.run.session import Caller
    from ssi_pipeline.storage.state.parts import parse_part

    _refuse_exclusive(options)
    caller = Caller(verbosity=options.verbosity, command=options.command_line)
    part = None if options.part is None else parse_part(options.part)
    config, screen = many.load(options), Screen(options)
    if options.follow:
        refuse_unfollowable(config)
    if config.input.images is not None:
        return many.run(options, config)
    many.choose(options)
    if part is not None:
        outcome = run_part(config, part, options.retry_failed, options.ignore_disk, caller=caller)
    elif options.finish:
        outcome = finish_parts(config, named(options), caller=caller)
    else:
        outcome = (follow if options.follow else run)(
            config,
            new=options.new,
            retry_failed=options.retry_failed,
            ignore_disk=options.ignore_disk,
            name=named(options),
            recreate_output=options.recreate_output,
            caller=caller,
        )
    if screen.quiet and not outcome.complete:
        note(describe_outcome(outcome))
    if part is None and outcome.complete:
        screen.hint(f"look at it: `ssi report {named(options)}`, or in napari `ssi view {named(options)}`")
    return outcome.exit_status


def _refuse_exclusive(options: argparse.Namespace) -> None:
    """Refuse options that exclude each other.

    Raises
    ------
    ConfigError
        Two of them are given.
    """
    in_parts = options.part is not None or options.finish
    if options.new and options.recreate_output:
        raise ConfigError("--new and --recreate-output are exclusive: --new always creates an output")
    if options.part is not None and options.finish:
        raise ConfigError("--part and --finish are exclusive: finish when all parts are done")
    if in_parts and options.new:
        raise ConfigError("--new excludes --part and --finish: move the earlier output and state away instead")
    if in_parts and options.recreate_output:
        raise ConfigError("--recreate-output excludes --part and --finish: other parts may be writing to the output")
    if in_parts and options.follow:
        raise ConfigError("--follow excludes --part and --finish: it is one run, with the workers of `executor`")
    if options.finish and options.retry_failed:
        raise ConfigError("--retry-failed excludes --finish, which solves no tiles: use it with --part")


def status(options: argparse.Namespace) -> int:
    """Print the status of a run, once or until it is complete."""
    from ssi_pipeline.commands.documents import status_document
    from ssi_pipeline.results.status import describe_status, read_status

    screen, config = Screen(options), many.choose(options)
    if not isinstance(config, RunConfig):
        return many.status(options, config)
    if options.watch:
        from rich.console import Console

        from ssi_pipeline.results.watch import watch

        console = Console(stderr=screen.json)
        try:
            found = watch(config, named(options), options.every, console)
        except KeyboardInterrupt:  # nothing was running here
            return ExitStatus.INTERRUPTED
    else:
        found = read_status(config)
    if screen.json or not options.watch:
        screen.result(describe_status(found, named(options)), status_document(found))
    sys.stdout.flush()
    if found.tiles_failed or found.causes:
        return ExitStatus.FAILED
    done = found.image_complete and found.finished and not found.running
    return ExitStatus.COMPLETE if done else ExitStatus.UNFINISHED
