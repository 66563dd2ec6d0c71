"""The commands preview, verify, report and export."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ssi_pipeline.commands import many
from ssi_pipeline.commands.screen import Screen, named
from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.changes import parse_change
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from ssi_pipeline.run.checks.verify import Verification


def preview(options: argparse.Namespace) -> int:
    """Solve a few tiles and print the comparison of variants."""
    from ssi_pipeline.commands.documents import preview_document
    from ssi_pipeline.preview.preview import preview

    screen = Screen(options)
    changes = [parse_change(text) for text in options.set]
    config = many.one(options, [change.text for change in changes if len(change.values) == 1])
    compared = [change for change in changes if len(change.values) > 1]
    found = preview(config, options.tiles, options.psf, compared, options.output, screen.say)
    if screen.json:
        screen.result([], preview_document(found, options.output))
    return ExitStatus.COMPLETE


def verify(options: argparse.Namespace) -> int:
    """Read everything written back, and with ``--input`` also what it was computed from."""
    from ssi_pipeline.commands.documents import verify_document
    from ssi_pipeline.run.checks.verify import verify
    from ssi_pipeline.run.checks.verify_input import describe_input, verify_input

    screen, config = Screen(options), many.choose(options)
    if not isinstance(config, RunConfig):
        return many.verify(options, config)
    source = verify_input(config) if options.input else None
    for line in describe_input(source) if source is not None else ():
        screen.say(line)
    result = verify(config)
    for line in _describe(result):
        screen.say(line)
    if screen.json:
        screen.result([], verify_document(result, source))
    same = source is None or not (source.changed or source.unreadable)
    if result.unread or result.problems or result.damage or not same:
        return ExitStatus.FAILED
    return ExitStatus.COMPLETE if result.good else ExitStatus.UNFINISHED


def _describe(result: Verification) -> list[str]:
    """Return the problems, then the counts, then the next step."""
    lines = [*result.damage, *result.problems]
    if result.damage:
        lines.append(
            f"{len(result.damage)} files of the run are damaged: repair them with `ssi run`, then verify again"
        )
    if result.unread:
        return [*lines, f"{result.unread} blocks were not checked"]
    counts = [f"{result.blocks - result.missing - len(result.problems)} of {result.blocks} blocks are good"]
    counts += [f"{result.missing} pending"] if result.missing else []
    counts += [f"{len(result.problems)} bad"] if result.problems else []
    lines.append(", ".join(counts))
    if result.problems and result.recorded:
        lines.append("recorded: `ssi run` computes them again")
    elif result.problems:
        lines.append("not recorded: the run is active, or its folders are read-only; verify again later")
    return lines


def report(options: argparse.Namespace) -> int:
    """Write the HTML report."""
    from ssi_pipeline.report import write_report

    screen = Screen(options)
    config = many.choose(options)
    if not isinstance(config, RunConfig):
        return many.report(options, config)
    path = write_report(config, options.output, options.figures, named(options))
    screen.say(f"wrote {path}")
    if options.figures is not None:
        screen.say(f"wrote {len(list(options.figures.glob('*.svg')))} figures, PNG and SVG, to {options.figures}")
    return ExitStatus.COMPLETE


def export(options: argparse.Namespace) -> int:
    """Write the metrics of all tiles to a table."""
    from ssi_pipeline.results.export import export, export_images

    config = many.choose(options)
    tiles = export(config, options.output) if isinstance(config, RunConfig) else export_images(config, options.output)
    Screen(options).say(f"wrote {options.output}: {tiles} tiles")
    return ExitStatus.COMPLETE
