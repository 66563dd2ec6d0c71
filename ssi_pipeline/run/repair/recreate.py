"""``ssi run --recreate-output``: for workflow managers, which delete the output of a job that did not end well."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

from ssi_pipeline.errors import OutputError
from ssi_pipeline.run.repair.output_repair import Metadata, look_at_output, repair_output
from ssi_pipeline.storage.outputs.output import read_fingerprint
from ssi_pipeline.storage.state.marker import other_tokens
from ssi_pipeline.tasks import Context


def make_room(context: Context, metadata: Metadata, resumed: bool, say: Callable[[str], None]) -> None:
    """Leave at the output's place this run's own output or nothing; what else of ours is there is put aside.

    Raises
    ------
    OutputError
        Not even the folder is there that the output was in.
    """
    output = context.document.config.output.path
    place = look_at_output(output, context.arrays)
    if place == "absent":
        if resumed and not output.parent.is_dir():
            raise OutputError(f"{output} is gone, and {output.parent} as well (is its disk mounted?)")
        if resumed:
            say(f"{output} is missing: made again; blocks that were written go back to pending")
    elif not (resumed and _is_this_runs(context, metadata, say)):
        say(f"{output} is no output of this run: kept as {_put_aside(output)}, and made again")


def _is_this_runs(context: Context, metadata: Metadata, say: Callable[[str], None]) -> bool:
    try:
        repair_output(context, metadata, say)
    except OutputError:  # its metadata are lost, and nothing proves that it is
        return False
    output = context.document.config.output.path
    return other_tokens(output, context.paths.root) is None and read_fingerprint(output) == context.document.fingerprint


def _put_aside(output: Path) -> Path:
    stamp = time.strftime(f"{output.name}.old-%Y%m%d-%H%M%S")
    names = itertools.chain([stamp], (f"{stamp}-{n}" for n in itertools.count(2)))
    return output.rename(next(path for path in map(output.with_name, names) if not path.exists()))
