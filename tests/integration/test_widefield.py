"""A real widefield stack from TIFF to report, where it is present beside the repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile
import yaml

from ssi_pipeline.cli import main

ROOT = Path(__file__).parents[2]
STACK = ROOT.parent / "shared" / "data" / "dapi_widefield.tif"


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.skipif(not STACK.is_file(), reason="the DAPI stack is not beside the repository")
def test_plan_run_verify_report(tmp_path: Path, whole: bool) -> None:
    """The short form has a part of the stack, and a part of the PSF: a twentieth of the voxels of each."""
    document = yaml.safe_load((ROOT / "workflows" / "widefield-stack.yaml").read_text())
    # the workflow's own geometry; few steps of a small network, quality is not the question here
    if whole:
        shutil.copy(STACK, tmp_path / "stack.tif")
    else:
        tifffile.imwrite(tmp_path / "stack.tif", tifffile.imread(STACK)[12:24, 60:110, :48])
        document["psf"]["support_um"] = {"z": 0.6, "y": 0.5, "x": 0.5}
    document["training"] = {"steps": 2, "batch": 1, "select": "best" if whole else "network"}
    document["network"] = {"width": 2, "levels": 2}
    document["executor"] = {"kind": "serial", "device": "cpu"}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(document))
    for command in ("plan", "run", "verify", "status", "report"):
        assert main([command, str(config)]) == 0
    assert (tmp_path / "stack_deconvolved.zarr.run" / "report.html").stat().st_size > 10_000
