"""What `ssi cluster check` says of a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssi_pipeline.cluster.findings import of_node, slow_starts
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
    assert all(finding.good for finding in of_node(answer, folder, parse_config(document, base=tmp_path)))
    if kept:
        assert answer["bytecode"] is None
        assert not list(slow_starts({"n1": answer}))
        return
    *command, libraries = answer["bytecode"]
    assert command == [sys.executable, "-m", "compileall", "-q", "-j", "0"]
    assert Path(libraries, "torch").is_dir()
    other = {"bytecode": ["python", "-m", "compileall", "/my env"]}
    nodes = {"n1": answer, "n2": answer, "n3": other, "n4": {"bytecode": None}}
    found = [finding.text for finding in slow_starts(nodes)]
    assert ["start slowly on n1, n2: " in found[0], "start slowly on n3: " in found[1], len(found)] == [True, True, 2]
    assert found[1].endswith("with write access: python -m compileall '/my env'")
