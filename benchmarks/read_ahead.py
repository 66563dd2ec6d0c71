"""What reading ahead and writing behind save: tiles of a fast solver in one batch, and one by one, side by side.

Every request to storage waits first, as on a busy network file system. The bytes of both ways are compared.

    PYTHONPATH=tests python benchmarks/read_ahead.py
    python benchmarks/read_ahead.py --latency-ms 0 20 100 --tiles 16 --core 128 --solver wiener
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builders import beads, config_of, hashes, make_run

from ssi_pipeline.run.channels import ready_channels_here
from ssi_pipeline.run.create import create_stores, save_inputs
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.mounted_store import MountedStore
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks.execute import execute


@contextmanager
def slow_storage(seconds: float) -> Iterator[None]:
    """Have each request wait."""
    kept = {name: getattr(MountedStore, name) for name in ("_read", "set_sync")}

    def late(name: str) -> Any:
        def request(*arguments: Any) -> Any:
            time.sleep(seconds)
            return kept[name](*arguments)

        return request

    for name in kept:
        setattr(MountedStore, name, late(name))
    try:
        yield
    finally:
        for name, real in kept.items():
            setattr(MountedStore, name, real)


def prepared(folder: Path, tiles: int, core: int, solver: str) -> RunSpec:
    """Return a run whose tiles can be solved: one row of them, chunks of half a core."""
    config = make_run(
        folder,
        beads((1, core, tiles * core)),
        solver=solver,
        tiling={"core": core},
        output={"pyramid": False},
        quality={"extended": False},
    )
    context = save_inputs(prepare(config_of(config)))
    create_stores(context)
    spec = RunSpec(str(context.paths.root), context.document.fingerprint)
    ready_channels_here(context, spec)
    return spec


def seconds_of(spec: RunSpec, batches: Sequence[Sequence[Job]]) -> float:
    """Solve batches, the rest of one that ended early again; return seconds."""
    started = time.perf_counter()
    for batch in batches:
        left = list(batch)
        while left:
            records = [record for record in execute(spec, left) if record.kind == "solve"]
            assert all(record.error is None for record in records), records
            left = left[len(records) :]
    return time.perf_counter() - started


def compare(folder: Path, latency: float, tiles: int, core: int, solver: str) -> str:
    """Return a row of the table: seconds a tile one by one and in a batch, twice each in turn; the least counts."""
    spec = prepared(folder, tiles, core, solver)
    jobs = [Job("solve", i) for i in range(tiles)]
    seconds_of(spec, [jobs[:2]])  # opens what is opened once
    alone, together, written = [], [], []
    with slow_storage(latency):
        for _ in range(2):
            alone.append(seconds_of(spec, [[job] for job in jobs]))
            written.append(hashes(folder / "out.zarr"))
            together.append(seconds_of(spec, [jobs]))
            written.append(hashes(folder / "out.zarr"))
    assert all(found == written[0] for found in written)
    one, batch = min(alone) / tiles, min(together) / tiles
    return f"| {latency * 1000:.0f} | {one * 1000:.0f} | {batch * 1000:.0f} | {one / batch:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 20, 100])
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--core", type=int, default=128)
    parser.add_argument("--solver", default="wiener")
    parser.add_argument("--short", action="store_true", help="four small tiles without latency")
    asked = parser.parse_args()
    if asked.short:
        asked.latency_ms, asked.tiles, asked.core = [0], 4, 32
    print("| latency of a request (ms) | a tile, one by one (ms) | in a batch (ms) | ratio |\n|---|---|---|---|")
    for latency in asked.latency_ms:
        with tempfile.TemporaryDirectory() as folder:
            print(compare(Path(folder), latency / 1000, asked.tiles, asked.core, asked.solver), flush=True)


if __name__ == "__main__":
    main()
