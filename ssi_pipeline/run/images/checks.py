"""Lock and check the output and state of a run of many images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssi_pipeline.config import RunConfig, differences
from ssi_pipeline.errors import OutputError, RunChangedError
from ssi_pipeline.run.checks.output_checks import refuse_other_token
from ssi_pipeline.run.checks.overlap import refuse_overlap
from ssi_pipeline.storage.outputs.collection import is_collection
from ssi_pipeline.storage.outputs.output import is_ours
from ssi_pipeline.storage.outputs.output_lock import Leases, output_lease
from ssi_pipeline.storage.state.collection import Collection, CollectionPaths
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import Say, run_lock
from ssi_pipeline.storage.state.marker import claim_state_folder, refuse_foreign_folder


def check_collection(collection: Collection, new: bool) -> None:
    """Refuse an output or a state folder that is not of this run; ``new``: an earlier run may exist.

    Raises
    ------
    OutputError
        Not written by ssi, or that of another run or of a single image.
    RunChangedError
        The options differ from those that the earlier images were started with.
    """
    config = collection.config
    output, paths = config.output.folder, StatePaths(config.state_path)
    refuse_overlap(config)
    refuse_foreign_folder(paths.root)
    if output.exists() and not is_ours(output):
        raise OutputError(f"{output} exists and was not written by ssi: choose another output.path, or move it away")
    if new:
        return
    if output.exists() and not is_collection(output):
        raise OutputError(
            f"{output} is the output of one image: choose another output.path, or start over with `ssi run --new` (it "
            "is kept as a backup)"
        )
    if paths.document.exists():
        raise OutputError(f"{paths.root} is the state of a run of one image: choose another output.path")
    refuse_other_token(output, paths)
    known = collection.paths.document.exists()
    if output.exists() and not known:
        raise OutputError(
            f"{output} is an output of ssi, but its state folder {paths.root} is missing: set output.state if it is "
            "elsewhere, or start over with `ssi run --new` (the old output is kept as a backup)"
        )
    changed = differences(collection.earlier, collection.options) if collection.earlier else []
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise RunChangedError(
            f"{output} was started with other settings:{lines}\nrestore these to resume, or start over with "
            "`ssi run --new` (the old output is kept as a backup)"
        )


@contextmanager
def sole_run(config: RunConfig, log: Say) -> Iterator[Leases]:
    """Hold exclusive access to the whole output and state of many images.

    Raises
    ------
    OutputError
        The state folder was not created by ssi, or cannot be created.
    LockedError
        Another client uses them.
    """
    paths, purpose = StatePaths(config.state_path), "a run of many images"
    folder = claim_state_folder(paths.root, config.output.folder)
    try:
        with (
            run_lock(paths.lock, purpose, log) as lease,
            output_lease(config.output.folder, paths.root, lease, purpose, log) as output,
        ):
            yield Leases(lease, output)
    except BaseException:
        if not CollectionPaths(paths.root).document.exists():
            folder.undo()
            folder.undo_folder()
        raise
