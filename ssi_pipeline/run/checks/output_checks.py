"""Check the output and state paths: refuse anything that a run must not overwrite or cannot write to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import OutputError
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.repair.output_repair import look_at_output
from ssi_pipeline.storage.mount import existing_parent
from ssi_pipeline.storage.outputs.output import read_fingerprint, refuse_missing_arrays
from ssi_pipeline.storage.outputs.output_lock import holder_of
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.ledger import read_heads
from ssi_pipeline.storage.state.marker import other_tokens, refuse_foreign_folder
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.tasks import Context
from ssi_pipeline.words import size_of


def check_output(prepared: Prepared, new: bool, ignore_disk: bool, recreate: bool = False) -> None:
    """Refuse an output that cannot be written or was not written by ssi; ``new``: an earlier run may exist.

    ``recreate``: an output of ssi may be missing, or belong to another run.

    Raises
    ------
    OutputError
        Not writable, not enough disk space, or not written by ssi.
    """
    config = prepared.document.config
    output, paths = config.output.path, StatePaths(config.state_path)
    refuse_foreign_folder(paths.root)
    known = paths.document.exists()
    store, place = output_store(output), look_at_output(output, prepared.context.arrays)
    if place == "foreign" or (place == "damaged" and not known):
        raise _not_ours(output)
    if not (new or recreate):
        refuse_other_token(output, paths)
    # checked again: another part may have started the run meanwhile, and the document is written before the output
    if place != "absent" and not known and not (new or recreate) and not paths.document.exists():
        at_work = holder_of(output)
        by = f" used by another run ({at_work})" if at_work is not None else ""
        raise OutputError(
            f"{output} is an output of ssi{by}, but its state folder {paths.root} is missing, so its progress is "
            "unknown: set output.state if the folder is elsewhere, or start over with `ssi run --new` (the old output "
            "is kept as a backup)"
        )
    if known and not new and not store.above_exists():
        # before anything is written: the output's lease is there, and a mount point must stay empty
        raise OutputError(f"{output} and its folder {output.parent} are missing (is its disk mounted?)")
    for disk in (store.disk(), existing_parent(paths.root)):
        if disk is not None and not os.access(disk, os.W_OK):
            raise OutputError(f"no permission to write to {disk}: choose another output.path")
    if (new or (recreate and not known)) and place != "absent":
        store.refuse_to_move()
    if (new or not known or (recreate and place == "absent")) and not ignore_disk:
        _refuse_full_disk(prepared)


def refuse_unknown_output(config: RunConfig) -> None:
    """Refuse an output that was not written by ssi, before the input is known; ``check_output`` looks at the rest.

    Raises
    ------
    OutputError
        It exists, and there is no run.
    """
    known, output = StatePaths(config.state_path).document.exists(), config.output.path
    if not known and look_at_output(output, ()) in ("foreign", "damaged"):
        raise _not_ours(output)


def _not_ours(output: Place) -> OutputError:
    return OutputError(f"{output} exists and was not written by ssi: choose another output.path, or move it away")


def refuse_other_output(document: RunDocument, paths: StatePaths) -> None:
    """Refuse an output that does not belong to the ledger, or that has lost its metadata.

    Raises
    ------
    OutputError
        It is missing, belongs to another run, or cannot be opened.
    """
    output = document.config.output.path
    if output_store(output).exists():
        refuse_other_token(output, paths)
        found = read_fingerprint(output)
        if found != document.fingerprint:
            raise OutputError(
                f"{output} belongs to run {found}, the state in {paths.root} to run {document.fingerprint}: "
                "restore the right one, or start over with `ssi run --new` (both are kept as backups)"
            )
        refuse_missing_arrays(output, Context(document, paths).arrays)
    elif any(head.kind == "stitch" for path in ledger_paths(paths) for head in read_heads(path)):
        raise OutputError(
            f"{output} is missing, but {paths.root} records blocks written to it: restore it (is its disk mounted?), "
            "or, if it was deleted, recreate it with `ssi run --recreate-output`"
        )


def refuse_other_token(output: Place, paths: StatePaths) -> None:
    """Refuse an output whose token is not that of the state folder.

    Raises
    ------
    OutputError
        The tokens differ, even if the two runs have equal configurations.
    """
    if (tokens := other_tokens(output, paths.root)) is not None:
        found, expected = tokens
        raise OutputError(
            f"{output} belongs to run {found[:8]}, the state in {paths.root} to run {expected[:8]}: restore the right "
            "one, set output.state to that run's, or start over with `ssi run --new` (both are kept as backups)"
        )


def _refuse_full_disk(prepared: Prepared) -> None:
    cost = prepared.cost
    config = prepared.document.config
    needs: dict[int, tuple[Path, int]] = {}
    for parent, size in (
        (output_store(config.output.path).disk(), cost.bytes_written + cost.bytes_pyramid),
        (existing_parent(config.state_path), cost.bytes_scratch_peak),
    ):
        if parent is None:
            continue
        device = parent.stat().st_dev
        needs[device] = (parent, needs.get(device, (parent, 0))[1] + size)
    for parent, size in needs.values():
        free = shutil.disk_usage(parent).free
        if size > free:
            raise OutputError(
                f"the run may need {size_of(size)} at {parent} (uncompressed), but only {size_of(free)} are free: "
                "free some space, choose another output.path or output.state, or, if the data compress well, run with "
                "--ignore-disk"
            )
