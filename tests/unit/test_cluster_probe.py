"""What `ssi cluster check` says of a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssi_pipeline.cluster.findings import of_node
from ssi_pipeline.cluster.probe import TOKEN
from ssi_pipeline.config import parse_config


@pytest.mark.parametrize("kept", [True, False])
def test_libraries_that_every_worker_compiles_anew_are_said_with_the_remedy(tmp_path: Path, kept: bool) -> None:
    folder, source = tmp_path / "check", tmp_path / "in.tif"
    folder.mkdir()
    source.write_bytes(b"x")
    (folder / TOKEN).write_text(folder.name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if not kept:
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path / "none")}
    command = [sys.executable, "-m", "ssi_pipeline.cluster.probe", str(folder), str(source)]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=True, timeout=100)
    (file,) = folder.glob("probe-*.json")
    answer: dict[str, Any] = json.loads(file.read_text())
    document = {"input": {"path": str(source)}, "output": {"path": "out.zarr"}, "psf": {"kind": "identity"}}
    found = list(of_node(answer, folder, parse_config(document, base=tmp_path)))
    assert all(finding.good for finding in found)
    slow = [finding.text for finding in found if "slow to start" in finding.text]
    assert len(slow) == (not kept)
    assert all(text.endswith(f"compileall -q -j 0 {answer['bytecode']}") for text in slow)
    assert kept or Path(answer["bytecode"], "torch").is_dir()
