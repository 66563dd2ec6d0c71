"""Start a run's output and state, or take up those of an earlier call."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ssi_pipeline.config import differences
from ssi_pipeline.errors import OutputError, RunChangedError
from ssi_pipeline.redact import redact
from ssi_pipeline.run.output_checks import refuse_other_output
from ssi_pipeline.run.output_repair import repair_output
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.recreate import make_room
from ssi_pipeline.run.say import say_repaired
from ssi_pipeline.run.state_repair import save_psf, state_flaws
from ssi_pipeline.storage.atomic import sweep_partial_files, sync, write_bytes
from ssi_pipeline.storage.identity import UNREADABLE
from ssi_pipeline.storage.output import create_output
from ssi_pipeline.storage.scratch import create_scratch
from ssi_pipeline.storage.state import RunDocument, StatePaths
from ssi_pipeline.tasks import Context


def put_aside(prepared: Prepared) -> list[Path]:
    """Rename the output and state of an earlier run, so that a new one can start; nothing is deleted."""
    config = prepared.document.config
    paths = [path for path in (config.output.path, config.state_path) if path.exists()]
    stamp = time.strftime("old-%Y%m%d-%H%M%S")
    tails = itertools.chain([stamp], (f"{stamp}-{n}" for n in itertools.count(2)))
    tail = next(t for t in tails if not any(p.with_name(f"{p.name}.{t}").exists() for p in paths))
    moved = [path.rename(path.with_name(f"{path.name}.{tail}")) for path in paths]
    for path in moved:
        (path / "lock").unlink(missing_ok=True)  # nobody works there
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
            shutil.rmtree(paths.root, ignore_errors=True)  # nothing has been done yet: leave nothing behind
        raise
    if sweep:
        sweep_partial_files(config.output.path, paths.root)
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
    """Write a new run's document and PSFs to its state folder."""
    context = prepared.context
    context.paths.root.mkdir(parents=True, exist_ok=True)
    for c, psf in enumerate(prepared.psfs):
        if psf is not None:
            save_psf(context.paths.psf(c), psf.values)
    prepared.document.save(context.paths.document)
    return context


def _repair(context: Context, prepared: Prepared) -> None:
    """Make small files again that are lost or damaged; says which."""
    say = partial(say_repaired, context.paths)
    repair_output(context, output_metadata(context), say)
    for flaw in state_flaws(context, prepared.psfs):
        flaw.remake()
        say(f"{flaw}: made again from what is known")


def _same_run(prepared: Prepared, paths: StatePaths) -> RunDocument:
    earlier = RunDocument.load(paths.document)
    changed = differences(earlier.basis, _as_far_as_readable(earlier.basis, prepared.document.basis))
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
    )


def _as_far_as_readable(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Pass over regions of the input that could not be read then, or cannot now: damage that is mended is no change."""
    before, after = earlier["input"]["content"], now["input"]["content"]
    if len(before) != len(after):
        return now
    content = [b if UNREADABLE in (b, a) else a for b, a in zip(before, after, strict=True)]
    return {**now, "input": {**now["input"], "content": content}}


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
    temporary = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for stale in output.parent.glob(f".{glob.escape(output.name)}.*.partial"):
            shutil.rmtree(stale)
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
    )
