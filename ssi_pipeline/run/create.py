"""Create the output and state of a run, or resume those of an earlier call."""

from __future__ import annotations

import itertools
import time
from functools import partial
from pathlib import Path

from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ssi_pipeline.config import RunConfig, differences
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import OutputError, RunChangedError, StoreError
from ssi_pipeline.redact import redact
from ssi_pipeline.run.checks.output_checks import refuse_other_output
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.repair.output_repair import repair_output
from ssi_pipeline.run.repair.recreate import make_room
from ssi_pipeline.run.repair.state_repair import save_psf, state_flaws
from ssi_pipeline.run.repair_log import log_repair
from ssi_pipeline.run.settle import demanded
from ssi_pipeline.storage.atomic import sweep_own, sweep_zarr
from ssi_pipeline.storage.inputs.identity import as_far_as_readable
from ssi_pipeline.storage.outputs.output import UNCERTAINTY, create_output, read_token, set_token
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.scratch import create_scratch
from ssi_pipeline.storage.state.document import RunDocument, StatePaths
from ssi_pipeline.storage.state.marker import claim_state_folder, read_marker
from ssi_pipeline.tasks import Context


def move_to_backup(config: RunConfig) -> list[Place]:
    """Rename the output and state of an earlier run so that a new one can start; nothing is deleted."""
    output, state = output_store(config.output.path), config.state_path
    there, known = output.exists(), state.exists()
    stamp = time.strftime("old-%Y%m%d-%H%M%S")
    tails = itertools.chain([stamp], (f"{stamp}-{n}" for n in itertools.count(2)))
    beside = [path for path in (config.output.path, state) if isinstance(path, Path)]
    tail = next(t for t in tails if not any(p.with_name(f"{p.name}.{t}").exists() for p in beside))
    moved: list[Place] = [output.move_to_backup(tail)] if there else []
    if known:
        after = state.rename(state.with_name(f"{state.name}.{tail}"))
        StatePaths(after).lock.unlink(missing_ok=True)  # no run is active there
        sweep_own((after,))  # partial files of clients that waited for the lock
        moved.append(after)
    return moved


def start_or_resume(prepared: Prepared, sweep: bool = True, recreate: bool = False) -> tuple[Context, bool]:
    """Write the files of a new run, or check that the earlier run is the same; returns whether it resumes.

    Called under the run lock. An earlier run keeps its plan, even if this machine would tile the volume differently.
    ``sweep``: delete leftovers of killed workers; none may be running. ``recreate``: create a missing output again,
    move that of another run to a backup.

    Raises
    ------
    RunChangedError
        Configuration, PSF or input differ from those that the run was started with.
    """
    config = prepared.document.config
    paths = StatePaths(config.state_path)
    resumed = paths.document.exists()
    if resumed:
        document = _same_run(prepared, paths)
        context = Context(document, paths)
        if recreate:
            make_room(context, output_metadata(context), True, partial(log_repair, paths))
        _repair(context, prepared)
        if not recreate:
            refuse_other_output(document, paths)
        document.save(paths.document)  # the executor section may have changed
    else:
        context = save_inputs(prepared)
        if recreate:
            make_room(context, output_metadata(context), False, partial(log_repair, paths))
    try:
        create_stores(context)
    except (OutputError, StoreError):
        if not resumed and isinstance(config.output.path, Path):  # of a URL some objects may be there: it is resumed
            _forget_inputs(context)  # nothing has run yet: leave no files behind
        raise
    _mark_output(context)
    if sweep:
        _sweep(context)
    return context, resumed


def create_stores(context: Context) -> None:
    """Create the output and the scratch, unless they exist.

    Raises
    ------
    OutputError
        They cannot be created.
    """
    _create_output(context)
    if not context.plan.direct:
        create_scratch(context.scratch_path, context.plan, context.layers)


def save_inputs(prepared: Prepared) -> Context:
    """Write the document and PSFs of a new run to its state folder, and mark the folder as ssi's.

    Raises
    ------
    OutputError
        The folder exists and was not created by ssi.
    """
    context = prepared.context
    claim_state_folder(context.paths.root)
    for c, psf in enumerate(prepared.psfs):
        if psf is not None:
            save_psf(context.paths.psf(c), psf)
    prepared.document.save(context.paths.document)
    return context


def _forget_inputs(context: Context) -> None:
    """Remove the files of ``save_inputs``; the caller that created marker and folder removes those."""
    context.paths.document.unlink(missing_ok=True)
    for c in range(context.plan.shape[1]):
        context.paths.psf(c).unlink(missing_ok=True)


def _mark_output(context: Context) -> None:
    """Write the run's token to an output of an earlier release, already accepted by its fingerprint."""
    output, token = context.document.config.output.path, read_marker(context.paths.root)
    if token is not None and not read_token(output):
        set_token(output, token)


def _sweep(context: Context) -> None:
    """Delete temporary files of killed writers, found by name; no writer may be running."""
    paths = context.paths
    sweep_own((paths.root, paths.models, *paths.models.glob("tiles-*")))
    if not context.plan.direct:
        sweep_zarr(context.scratch_path, ())
    levels = (str(level) for level in range(context.pyramid.n_levels))
    output_store(context.document.config.output.path).sweep((*levels, UNCERTAINTY, "quality"))


def _repair(context: Context, prepared: Prepared) -> None:
    """Repair missing or damaged small files; logs each one."""
    log = partial(log_repair, context.paths)
    repair_output(context, output_metadata(context), log)
    for flaw in state_flaws(context, prepared.psfs):
        flaw.remake()
        log(f"{flaw}: repaired")


def _same_run(prepared: Prepared, paths: StatePaths) -> RunDocument:
    earlier = RunDocument.load(paths.document)
    _refuse_other_way(earlier, prepared.document)
    now = as_far_as_readable(earlier.basis, prepared.document.basis)
    changed = differences(earlier.basis, {**now, **demanded(earlier.compute, prepared.document.config)})
    if changed:
        raise RunChangedError(
            "\n".join(
                [
                    f"{prepared.document.config.output.path} was started with other settings:",
                    *(f"  {line}" for line in changed),
                    "restore these to resume, or start over with `ssi run --new` (the old output is kept as a backup)",
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


def _refuse_other_way(earlier: RunDocument, now: RunDocument) -> None:
    """Refuse to continue a followed run as one on finished data, and the reverse: their calibrations differ."""
    if (earlier.first_frames is None) == (now.first_frames is None):
        return
    how = "without --follow" if earlier.first_frames is None else "with --follow"
    raise RunChangedError(
        f"{now.config.output.path} was started {how}: add or remove --follow to resume it, or start over with "
        "`ssi run --new` (the old output is kept as a backup)"
    )


def _create_output(context: Context) -> None:
    """Create the arrays: the output exists completely or not at all.

    Raises
    ------
    OutputError
        They cannot be created.
    """
    output = context.document.config.output.path
    store = output_store(output)
    if store.exists():
        return
    try:
        store.create(output_metadata(context), read_marker(context.paths.root) or "")
    except StoreError:
        raise
    except OSError as error:
        raise OutputError(f"cannot create the output {output}: {error}; choose another output.path") from error


def output_metadata(context: Context) -> dict[str, bytes]:
    """Return every metadata file of a new output, by its path in the output.

    Used to create an output, and to repair one that has lost some of these files.
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
            "quality": document.config.quality.model_dump(mode="json"),
            "seed": document.config.seed,
            "versions": document.versions,
        },
        read_marker(context.paths.root) or "",
    )
