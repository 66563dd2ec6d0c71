"""Missing blocks are found in portions, with and without threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import complete, config_of, image_files, make_run, ramp

from ssi_pipeline.run.repair import missing
from ssi_pipeline.run.stages import TileStage
from ssi_pipeline.storage.state.ledger import DONE, TODO, read_state
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks.opening import open_context, task_counts


@pytest.mark.parametrize("fast_seconds", [0.0, 10.0], ids=["threads", "one after the other"])
@pytest.mark.parametrize("at_once", [1, 5, 8, 100])
def test_every_missing_block_is_found_once(
    tmp_path: Path, fast_seconds: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_run(tmp_path, ramp((3, 64, 96)), output={"pyramid": False})
    output = complete(config)
    for name, value in (("_FAST_SECONDS", fast_seconds), ("_AT_ONCE", at_once), ("_IN_TURN", 3), ("_SAMPLE", 2)):
        monkeypatch.setattr(missing, name, value)
    context = open_context(config_of(config))
    state = read_state(context.paths.ledger, task_counts(context))
    assert missing.forget_missing(context, state) == []
    files = image_files(output)
    assert len(files) == 18
    files[0].unlink()
    files[7].write_bytes(b"")
    files[8].write_bytes(files[8].read_bytes()[:-1])
    files[17].unlink()
    files[17].mkdir()
    records = missing.forget_missing(context, state)
    assert [(record.key, record.status) for record in records] == [
        (f"stitch/{index}", "invalid") for index in (0, 7, 8, 17)
    ]
    assert (state.status["stitch"] != DONE).nonzero()[0].tolist() == [0, 7, 8, 17]
    assert missing.forget_missing(context, state) == []


def test_scratch_that_a_kill_left_is_deleted(tmp_path: Path) -> None:
    """All except that of tiles that an unwritten block needs."""
    config = make_run(tmp_path, ramp((1, 64, 128)), tiling={"blend": 8}, output={"keep_scratch": True})
    complete(config)
    context = open_context(config_of(config))
    output = context.document.config.output.model_copy(update={"keep_scratch": False})
    document = replace(context.document, config=context.document.config.model_copy(update={"output": output}))
    context = replace(context, document=document)
    context.scratch.release(7)
    assert context.scratch.present() == set(range(7))
    state = read_state(context.paths.ledger, task_counts(context))
    state.status["stitch"][0] = TODO
    stage = TileStage(context, state, range(context.plan.n_tiles))
    assert list(iter(stage.next_job, None)) == [Job("stitch", 0)]
    stage.synced()
    assert context.scratch.present() == {0, 1, 4, 5}
