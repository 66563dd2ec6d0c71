"""A real widefield stack from TIFF to report, where it is present beside the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from ssi_pipeline.cli import main

ROOT = Path(__file__).parents[2]
STACK = ROOT.parent / "shared" / "data" / "dapi_widefield.tif"


@pytest.mark.slow
@pytest.mark.parametrize("select", ["network", pytest.param("best", marks=pytest.mark.long)])
@pytest.mark.skipif(not STACK.is_file(), reason="the DAPI stack is not beside the repository")
def test_plan_run_verify_report(tmp_path: Path, select: str) -> None:
    shutil.copy(STACK, tmp_path / "stack.tif")
    document = yaml.safe_load((ROOT / "workflows" / "widefield-stack.yaml").read_text())
    # the workflow's own geometry; few steps of a small network, quality is not the question here
    if select == "network":  # the long form has the workflow's own PSF, of eight times the voxels
        document["psf"]["support_um"] = {"z": 1.8, "y": 1.0, "x": 1.0}
    document["training"] = {"steps": 2, "batch": 1, "select": select}
    document["network"] = {"width": 2, "levels": 2}
    document["executor"] = {"kind": "serial", "device": "cpu"}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(document))
    for command in ("plan", "run", "verify", "status", "report"):
        assert main([command, str(config)]) == 0
    assert (tmp_path / "stack_deconvolved.zarr.run" / "report.html").stat().st_size > 10_000
