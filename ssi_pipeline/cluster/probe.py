"""Probe of a node, run by `ssi cluster check` inside a job; writes its answer to the shared folder as JSON.

python -m ssi_pipeline.cluster.probe FOLDER INPUT [SCRATCH]
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ssi_pipeline

PACKAGES = ("numpy", "scipy", "torch", "zarr", "dask", "distributed", "tifffile")
TOKEN = "token.txt"
"""File written by the client and read by the node."""


def versions() -> dict[str, str]:
    """Return the versions that must be equal on all nodes."""
    found = {"python": sys.version.split()[0], "ssi_pipeline": ssi_pipeline.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def describe(folder: Path, source: str, scratch: str | None) -> dict[str, Any]:
    """Return the state of the node; an ``error`` entry for each failed check."""
    found: dict[str, Any] = {
        "node": os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
        "job": os.environ.get("SLURM_JOB_ID"),
        "versions": versions(),
        "package": str(Path(ssi_pipeline.__file__).parent),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "token": _attempt(lambda: (folder / TOKEN).read_text()),
        "input": _attempt(lambda: _seen(source)),
        "gpus": _attempt(_gpus),
        "bytecode": _attempt(_bytecode),
    }
    if scratch:
        place = Path(os.path.expandvars(scratch))
        found["scratch"] = _attempt(lambda: _writable(place))
    return found


def _seen(source: str) -> str:
    return "a URL, not opened" if "://" in source else str(Path(source).stat().st_size)


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _bytecode() -> list[str] | None:
    """Return the command that keeps the compiled libraries, if torch's import did not leave it so."""
    import torch

    spec = torch.__spec__
    if spec is not None and Path(spec.cached or "").is_file():
        return None
    return [sys.executable, "-m", "compileall", "-q", "-j", "0", str(Path(torch.__file__).parents[1])]


def _writable(folder: Path) -> str:
    mark = folder / f".ssi-{os.getpid()}"
    mark.write_text("x")
    mark.unlink()
    return f"{shutil.disk_usage(folder).free / 1e9:.0f} GB free"


def _attempt(what: Any) -> Any:
    try:
        return what()
    except Exception as error:  # any error is reported to the user
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Write ``probe-JOB-NODE.json`` into the folder, atomically."""
    folder, source, *scratch = sys.argv[1:]
    found = describe(Path(folder), source, scratch[0] if scratch else None)
    target = Path(folder) / f"probe-{found['job'] or os.getpid()}-{found['node']}.json"
    target.with_suffix(".partial").write_text(json.dumps(found))
    target.with_suffix(".partial").rename(target)


if __name__ == "__main__":
    main()
