"""Add time points to a run: first the arrays grow, then the run's document, which workers and resumed calls read.

Tiles and blocks are numbered t first, so those of earlier time points keep their numbers and records. Blocks of coarser
levels are numbered by level: their records are revoked first. A call that is killed in between leaves arrays that are
longer than the document says; the next one cuts them to it, and grows them again. No data lie there yet.
"""

from __future__ import annotations

from ssi_pipeline.errors import RunChangedError
from ssi_pipeline.results.ledger_summary import read_tally
from ssi_pipeline.run.checks.input_check import refuse_changed_input
from ssi_pipeline.run.create import output_metadata
from ssi_pipeline.run.repair.output_repair import repair_output
from ssi_pipeline.run.session import RunSession, whole_run
from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.outputs.carried import outdate_carried
from ssi_pipeline.storage.outputs.output import read_status, set_status
from ssi_pipeline.storage.outputs.scratch import write_scratch_metadata
from ssi_pipeline.storage.state.ledger import DONE
from ssi_pipeline.storage.state.made_from import save_stamp
from ssi_pipeline.storage.state.records import TaskRecord
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import task_counts


def grow(session: RunSession, frames: int) -> None:
    """Extend a run to ``frames`` time points.

    Raises
    ------
    RunChangedError
        The input of earlier time points has changed since they were solved, or has another shape.
    """
    before = session.context
    larger = Context(before.document.with_frames(frames), before.paths)
    _refuse_other_shape(larger)
    sources = [larger.source, *([] if larger.mask is None else [larger.mask.source])]
    stamp = input_stamp(*sources)  # before the comparison: a change after it is seen by the next one
    refuse_changed_input(before, session.display, session.is_asked_to_stop)
    _revoke_levels(session)
    output = before.document.config.output.path
    if read_status(output) != "incomplete":
        set_status(output, "incomplete")
    outdate_carried(output)
    repair_output(larger, output_metadata(larger), lambda _: None)
    if not larger.plan.direct:
        write_scratch_metadata(larger.scratch_path, larger.plan, larger.layers)
    larger.document.save(larger.paths.document)
    if stamp is not None:
        save_stamp(larger.paths.input_stamp, stamp)
    session.context, session.scope = larger, whole_run(larger)
    session.tally = read_tally([larger.paths.ledger], task_counts(larger))


def _refuse_other_shape(larger: Context) -> None:
    """Refuse an input that is not the known one with more time points, before anything is written."""
    found, expected = larger.source.volume, larger.document.volume
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise RunChangedError(
            f"input {larger.document.config.input.path} has t c z y x {found.shape} of {found.dtype}: expected "
            f"{expected.shape} of {expected.dtype}. Restore it, or start over with `ssi run --new`"
        )


def _revoke_levels(session: RunSession) -> None:
    for index in (session.state.status["pyramid"] == DONE).nonzero()[0]:
        session.record(TaskRecord("pyramid", int(index), "invalid", error="the image has grown along t"))
    session.ledger.sync()
