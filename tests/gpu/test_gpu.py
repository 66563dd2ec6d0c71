"""A run on a real GPU, where torch finds one: it is used, logged and recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import TINY, beads, complete, config_of, make_run, records

from ssi_pipeline.storage.state.document import RunDocument, StatePaths

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]


@pytest.mark.parametrize("executor", [{"kind": "serial"}, {"kind": "dask", "memory_gib": 4}])
@pytest.mark.parametrize("solver", ["wiener", "ssi"])
def test_tiles_are_solved_on_the_gpu(tmp_path: Path, executor: dict[str, Any], solver: str) -> None:
    config = make_run(tmp_path, beads((1, 64, 128)), solver=solver, executor={**executor, "device": "auto"}, **TINY)
    complete(config)
    found = {record.device for record in records(config, "solve")}
    assert found == {torch.cuda.get_device_name()}
    compute = RunDocument.load(StatePaths(config_of(config).state_path).document).compute
    assert compute is not None
    assert compute.device == "cuda"
    trained = solver == "ssi" and torch.cuda.get_device_capability() >= (8, 0)
    assert compute.precision == ("bfloat16" if trained else "float32")
