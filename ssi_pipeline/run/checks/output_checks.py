"""What is at the place of the output and state: refusals of what a run must not touch, or cannot write to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ssi_pipeline.errors import OutputError
from ssi_pipeline.run.prepare import Prepared, existing_parent
from ssi_pipeline.run.repair.output_repair import look_at_output
from ssi_pipeline.storage.outputs.output import read_fingerprint, refuse_missing_arrays
from ssi_pipeline.storage.outputs.output_lock import holder_of
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.ledger import read_heads
from ssi_pipeline.storage.state.marker import other_tokens, refuse_foreign_folder
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.tasks import Context
from ssi_pipeline.words import size_of


def check_output(prepared: Prepared, new: bool, ignore_disk: bool, recreate: bool = False) -> None:
    """Refuse an output that cannot be written or is not ours; with ``new`` put an earlier run aside.

    ``recreate``: an output of ours may be missing, or be another run's.

    Raises
    ------
    OutputError
        Not writable, too little disk, or something that no run of ours has made.
    """
    config = prepared.document.config
    output, paths = config.output.path, StatePaths(config.state_path)
    refuse_foreign_folder(paths.root)
    known = paths.document.exists()
    place = look_at_output(output, prepared.context.arrays)
    if place == "foreign" or (place == "damaged" and not known):
        raise OutputError(f"{output} exists and is no output of ssi: choose another output.path, or move it away")
    if not (new or recreate):
        refuse_other_token(output, paths)
    # looked at once more: another part may have begun the run meanwhile, and its document comes before its output
    if output.exists() and not known and not (new or recreate) and not paths.document.exists():
        at_work = holder_of(output)
        by = f" on which another run works ({at_work})" if at_work is not None else ""
        raise OutputError(
            f"{output} is an output of ssi{by}, but its state {paths.root} is gone, so nothing says what is done: "
            "give output.state if it lies elsewhere, or start over with `ssi run --new` (the old output is kept aside)"
        )
    if known and not new and not output.parent.is_dir():
        # before anything is written: the lease of the output lies there, and a mount point must stay empty
        raise OutputError(f"{output} is gone, and {output.parent} as well (is its disk mounted?)")
    for path in (output, paths.root):
        if not os.access(existing_parent(path), os.W_OK):
            raise OutputError(f"{existing_parent(path)} cannot be written to: choose another output.path")
    if (new or not known or (recreate and place == "absent")) and not ignore_disk:
        _refuse_full_disk(prepared)


def refuse_other_output(document: RunDocument, paths: StatePaths) -> None:
    """Refuse an output that is not the one that the ledger speaks of, or that lost its metadata.

    Raises
    ------
    OutputError
        It is gone, another one, or cannot be opened.
    """
    output = document.config.output.path
    if output.exists():
        refuse_other_token(output, paths)
        found = read_fingerprint(output)
        if found != document.fingerprint:
            raise OutputError(
                f"{output} belongs to run {found}, the state in {paths.root} to run {document.fingerprint}: "
                "put the right one back, or start over with `ssi run --new` (both are kept aside)"
            )
        refuse_missing_arrays(output, Context(document, paths).arrays)
    elif any(head.kind == "stitch" for path in ledger_paths(paths) for head in read_heads(path)):
        raise OutputError(
            f"{output} is gone, but {paths.root} says that parts of it are written: "
            "put it back (is its disk mounted?); where it was deleted, `ssi run --recreate-output` makes it again"
        )


def refuse_other_token(output: Path, paths: StatePaths) -> None:
    """Refuse an output that says that it belongs to another run than the state folder.

    Raises
    ------
    OutputError
        Their tokens differ, though the two runs may be of equal configurations.
    """
    if (tokens := other_tokens(output, paths.root)) is not None:
        found, expected = tokens
        raise OutputError(
            f"{output} belongs to run {found[:8]}, the state in {paths.root} to run {expected[:8]}: put the right one "
            "back, give the output.state of that run, or start over with `ssi run --new` (both are kept aside)"
        )


def _refuse_full_disk(prepared: Prepared) -> None:
    cost = prepared.cost
    config = prepared.document.config
    needs: dict[int, tuple[Path, int]] = {}
    for path, size in (
        (config.output.path, cost.bytes_written + cost.bytes_pyramid),
        (config.state_path, cost.bytes_scratch_peak),
    ):
        parent = existing_parent(path)
        device = parent.stat().st_dev
        needs[device] = (parent, needs.get(device, (parent, 0))[1] + size)
    for parent, size in needs.values():
        free = shutil.disk_usage(parent).free
        if size > free:
            raise OutputError(
                f"the run may need {size_of(size)} at {parent} (nothing compressed), {size_of(free)} are free: "
                "free some, choose another output.path or output.state, or, if you know that the data compress well, "
                "run with --ignore-disk"
            )
