"""Prepare the output path for ``ssi run --recreate-output``: workflow managers delete the output of a failed job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import OutputError
from ssi_pipeline.run.repair.output_repair import Metadata, look_at_output, repair_output
from ssi_pipeline.storage.outputs.output import read_fingerprint
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.state.marker import other_tokens
from ssi_pipeline.tasks import Context


def make_room(context: Context, metadata: Metadata, resumed: bool, log: Callable[[str], None]) -> None:
    """Keep this run's output at its path; move another output of ssi to a backup.

    Raises
    ------
    OutputError
        The output's parent folder is missing as well.
    """
    output = context.document.config.output.path
    place = look_at_output(output, context.arrays)
    if place == "absent":
        if resumed and not output_store(output).above_exists():
            raise OutputError(f"{output} and its folder {output.parent} are missing (is its disk mounted?)")
        if resumed:
            log(f"{output} is missing: created again; its blocks are pending again")
    elif not (resumed and _is_this_runs(context, metadata, log)):
        log(f"{output} belongs to another run: moved to {_move_to_backup(output)} and created again")


def _is_this_runs(context: Context, metadata: Metadata, log: Callable[[str], None]) -> bool:
    try:
        repair_output(context, metadata, log)
    except OutputError:  # its metadata are lost, and its voxels do not match
        return False
    output = context.document.config.output.path
    return other_tokens(output, context.paths.root) is None and read_fingerprint(output) == context.document.fingerprint


def _move_to_backup(output: Place) -> Place:
    stamp = time.strftime("old-%Y%m%d-%H%M%S")
    tails = itertools.chain([stamp], (f"{stamp}-{n}" for n in itertools.count(2)))
    free = (tail for tail in tails if not output_store(output.with_name(f"{output.name}.{tail}")).exists())
    return output_store(output).move_to_backup(next(free))
