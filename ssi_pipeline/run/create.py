"""Start a run's output and state, or take up those of an earlier call."""

from __future__ import annotations

import itertools
import shutil
import time
from functools import partial
from pathlib import Path

from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ssi_pipeline.config import differences
from ssi_pipeline.errors import OutputError, RunChangedError
from ssi_pipeline.redact import redact
from ssi_pipeline.run.checks.output_checks import refuse_other_output
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.repair.output_repair import repair_output
from ssi_pipeline.run.repair.recreate import make_room
from ssi_pipeline.run.repair.state_repair import save_psf, state_flaws
from ssi_pipeline.run.say import say_repaired
from ssi_pipeline.run.settle import demanded
from ssi_pipeline.storage.atomic import sweep_own, sweep_zarr, sync, write_bytes
from ssi_pipeline.storage.inputs.identity import as_far_as_readable
from ssi_pipeline.storage.outputs.output import UNCERTAINTY, create_output, read_token, set_token
from ssi_pipeline.storage.outputs.scratch import create_scratch
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.marker import claim_state_folder, read_marker
from ssi_pipeline.tasks import Context


def put_aside(prepared: Prepared) -> list[Path]:
    """Rename the output and state of an earlier run, so that a new one can start; nothing is deleted."""
    config = prepared.document.config
    paths = [path for path in (config.output.path, config.state_path) if path.exists()]
    stamp = time.strftime("old-%Y%m%d-%H%M%S")
    tails = itertools.chain([stamp], (f"{stamp}-{n}" for n in itertools.count(2)))
    tail = next(t for t in tails if not any(p.with_name(f"{p.name}.{t}").exists() for p in paths))
    moved = [path.rename(path.with_name(f"{path.name}.{tail}")) for path in paths]
    for before, after in zip(paths, moved, strict=True):
        if before == config.state_path:
            StatePaths(after).lock.unlink(missing_ok=True)  # nobody works there
            sweep_own((after,))  # what a client had begun to write that came for the lock
    return moved


def start_or_resume(prepared: Prepared, sweep: bool = True, recreate: bool = False) -> tuple[Context, bool]:
    """Write what a new run needs, or check that the earlier one is the same; tells whether it resumes.

    Called under the run lock. An earlier run keeps its plan, also where another machine would now
    cut the volume differently. ``sweep`` deletes what killed workers left; none may be at work. ``recreate``: an
    output that is missing is made again, one of another run is put aside.

    Raises
    ------
    RunChangedError
        Configuration, PSF or input are not those that the output was begun with.
    """
    config = prepared.document.config
    paths = StatePaths(config.state_path)
    resumed = paths.document.exists()
    if resumed:
        document = _same_run(prepared, paths)
        context = Context(document, paths)
        if recreate:
            make_room(context, output_metadata(context), True, partial(say_repaired, paths))
        _repair(context, prepared)
        if not recreate:
            refuse_other_output(document, paths)
        document.save(paths.document)  # where the work is done may have changed
    else:
        context = save_inputs(prepared)
        if recreate:
            make_room(context, output_metadata(context), False, partial(say_repaired, paths))
    try:
        create_stores(context)
    except OutputError:
        if not resumed:
            _forget_inputs(context)  # nothing has been done yet: leave nothing behind
        raise
    _mark_output(context)
    if sweep:
        _sweep(context)
    return context, resumed


def create_stores(context: Context) -> None:
    """Create the output and the scratch, unless they are there.

    Raises
    ------
    OutputError
        The system refuses it.
    """
    _create_output(context)
    if not context.plan.direct:
        create_scratch(context.scratch_path, context.plan, context.layers)


def save_inputs(prepared: Prepared) -> Context:
    """Write a new run's document and PSFs to its state folder, which is ours by its marker.

    Raises
    ------
    OutputError
        The folder is the user's.
    """
    context = prepared.context
    claim_state_folder(context.paths.root)
    for c, psf in enumerate(prepared.psfs):
        if psf is not None:
            save_psf(context.paths.psf(c), psf)
    prepared.document.save(context.paths.document)
    return context


def _forget_inputs(context: Context) -> None:
    """Remove what ``save_inputs`` wrote; the marker, and the folder, are for whoever made them to remove."""
    context.paths.document.unlink(missing_ok=True)
    for c in range(context.plan.shape[1]):
        context.paths.psf(c).unlink(missing_ok=True)


def _mark_output(context: Context) -> None:
    """Give an output of an earlier release, which has passed for the run's by its fingerprint, the run's token."""
    output, token = context.document.config.output.path, read_marker(context.paths.root)
    if token is not None and not read_token(output):
        set_token(output, token)


def _sweep(context: Context) -> None:
    """Delete what killed writers left, by the names that they give; none may be at work."""
    paths = context.paths
    sweep_own((paths.root, paths.models, *paths.models.glob("tiles-*")))
    if not context.plan.direct:
        sweep_zarr(context.scratch_path, ())
    levels = (str(level) for level in range(context.pyramid.n_levels))
    sweep_zarr(context.document.config.output.path, (*levels, UNCERTAINTY, "quality"))


def _repair(context: Context, prepared: Prepared) -> None:
    """Make small files again that are lost or damaged; says which."""
    say = partial(say_repaired, context.paths)
    repair_output(context, output_metadata(context), say)
    for flaw in state_flaws(context, prepared.psfs):
        flaw.remake()
        say(f"{flaw}: made again from what is known")


def _same_run(prepared: Prepared, paths: StatePaths) -> RunDocument:
    earlier = RunDocument.load(paths.document)
    now = as_far_as_readable(earlier.basis, prepared.document.basis)
    changed = differences(earlier.basis, {**now, **demanded(earlier.compute, prepared.document.config)})
    if changed:
        raise RunChangedError(
            "\n".join(
                [
                    f"{prepared.document.config.output.path} was begun with something else:",
                    *(f"  {line}" for line in changed),
                    "put it back to resume, or start over with `ssi run --new` (the old output is kept aside)",
                ]
            )
        )
    return RunDocument(
        earlier.basis,
        prepared.document.config,
        earlier.plan,
        earlier.volume,
        earlier.image_metadata,
        earlier.versions,
        prepared.document.notes,
        earlier.later_versions + tuple(v for v in [prepared.document.versions] if v not in earlier.version_sets),
    )


def _create_output(context: Context) -> None:
    """Create the arrays under another name, then rename: an output is there as a whole or not at all.

    Raises
    ------
    OutputError
        The system refuses it.
    """
    output = context.document.config.output.path
    if output.exists():
        return
    temporary = output.with_name(f".{output.name}.{read_marker(context.paths.root)}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)  # by its name: left by a call of this run that was killed
        for name, content in output_metadata(context).items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(temporary / name, content)
        temporary.rename(output)
        sync(output.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(f"the output {output} cannot be made: {error}; choose another output.path") from error


def output_metadata(context: Context) -> dict[str, bytes]:
    """Return every metadata file of the output by its path in it, as they are when a run begins.

    From it both a new output is made and one that has lost some of them.
    """
    made: dict[str, Buffer] = {}
    _fill_output(context, MemoryStore(made))
    return {name: content.to_bytes() for name, content in made.items()}


def _fill_output(context: Context, place: Store) -> None:
    document, output = context.document, context.document.config.output
    create_output(
        place,
        output,
        document.volume,
        context.dtype,
        context.plan,
        context.pyramid,
        document.image_metadata,
        dict(zip("tczyx", context.origin, strict=True)),
        {
            "fingerprint": document.fingerprint,
            "basis": document.basis,
            "input_path": redact(str(document.config.input.path)),
            "seed": document.config.seed,
            "versions": document.versions,
        },
        read_marker(context.paths.root) or "",
    )
