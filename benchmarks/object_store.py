"""How fast images are read from and written to an object store, beside plain copies of the same objects in one run.

    python benchmarks/object_store.py          an image of 128 MiB in 16 shards; prints a table for each server
    python benchmarks/object_store.py --short  4 shards, each row once

The servers are real and in processes of their own: S3 (moto), and Azurite where SSI_AZURITE is its command. They share
the machine with the readers: only ratios of two rows of one table mean anything. Rows are timed at the server itself,
best of three; requests are counted in another pass, through a gate before the S3 server. A plain copy gets or puts each
object whole, with as many threads, and decodes and encodes nothing. Needs moto and obstore (pip install '.[dev]'), for
rows of tensorstore also that: pip install tensorstore. The servers are those of tests/.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cloud_servers import azurite, cloud_server
from s3_server import BUCKET, S3, s3_server

from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.config.url import Place, parse_url
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source import clear_sources, open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.storage.outputs.checksums import compressors
from ssi_pipeline.storage.outputs.sink import Sink
from ssi_pipeline.storage.store import store_of

SHARD, CHUNK, TILE, HALO = 2048, 256, 1024, 32
THREADS = 4
HAS_TENSORSTORE = importlib.util.find_spec("tensorstore") is not None
READ_COPY, WRITE_COPY = "read: plain copy (obstore)", "write: plain copy (obstore)"
VALUES = np.random.default_rng(0).poisson(100, (1, SHARD, SHARD)).astype(np.uint16)


@dataclass(frozen=True)
class Bench:
    """An image of shards in a store, and what is done with it. ``endpoint``: of the server; None: a folder."""

    root: str
    endpoint: str | None
    side: int

    def place(self, name: str) -> Place:
        """Return an image by its name."""
        if self.endpoint is None:
            return Path(self.root, name)
        return parse_url(f"{self.root}/{name}", StorageConfig(endpoint=self.endpoint))

    def boxes(self, step: int, halo: int = 0) -> list[Box]:
        """Return the boxes that tile a plane."""
        corners = [(y, x) for y in range(0, self.side, step) for x in range(0, self.side, step)]
        return [
            Box((0, *(max(0, n - halo) for n in c)), (1, *(min(self.side, n + step + halo) for n in c)))
            for c in corners
        ]

    def make(self, name: str) -> None:
        """Create the output of a run, with one level, empty."""
        place = self.place(name)
        zarr.create_group(place if isinstance(place, Path) else store_of(place).zarr(writable=True)).create_array(
            "0", shape=(1, self.side, self.side), shards=(1, SHARD, SHARD), chunks=(1, CHUNK, CHUNK), dtype="uint16",
            compressors=compressors(3, 3), dimension_names=("z", "y", "x"),
        )  # fmt: skip

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """The objects of the image."""
        store = store_of(self.place("image/0"))
        return {entry.key: store.read(entry.key) for entry in store.list("c")}

    def read(self, boxes: Sequence[Box]) -> Iterator[Callable[[], object]]:
        """Yield reads by the source of a run."""
        source = open_source(SourceSpec(self.place("image/0")))
        yield from (lambda box=box: source.read(0, 0, box) for box in boxes)

    def write(self, name: str) -> Iterator[Callable[[], object]]:
        """Yield writes of shards by the sink of a run."""
        sink = Sink(self.place(name), "zyx", (1, SHARD, SHARD), writable=True)
        sink.level(0)
        yield from (lambda box=box: sink.write(0, 0, 0, box, VALUES) for box in self.boxes(SHARD))

    def get(self) -> Iterator[Callable[[], object]]:
        """Yield reads of whole objects."""
        store = store_of(self.place("image/0"))
        yield from (lambda key=key: store.read(key) for key in self.contents)

    def put(self) -> Iterator[Callable[[], object]]:
        """Yield writes of whole objects."""
        store = store_of(self.place("copy"))
        yield from (lambda item=item: store.write(*item) for item in self.contents.items())


def tensorstore_at(bench: Bench, name: str, **more: Any) -> Any:
    """Open a store or an array with tensorstore; no more than one thread for each of ours."""
    import tensorstore

    place = {
        "driver": "s3",
        "bucket": BUCKET,
        "path": f"{name}/",
        "endpoint": bench.endpoint,
        "aws_region": "us-east-1",
        "aws_credentials": {"type": "environment"},
    }
    context = tensorstore.Context(
        {key: {"limit": THREADS} for key in ("data_copy_concurrency", "s3_request_concurrency")}
    )
    if not more:
        return tensorstore.KvStore.open(place, context=context).result()
    return tensorstore.open({"kvstore": place, **more}, open=True, context=context).result()


def of_tensorstore(bench: Bench) -> dict[str, Callable[[], Iterator[Callable[[], object]]]]:
    """Return the rows of tensorstore, by their names."""

    def copy(write: bool) -> Iterator[Callable[[], object]]:
        there = tensorstore_at(bench, "other-copy" if write else "image/0")
        for key, content in bench.contents.items():
            yield (lambda k=key, c=content: there.write(k, c).result()) if write else (lambda k=key: there[k])

    def array(name: str, write: bool, step: int = SHARD, halo: int = 0) -> Iterator[Callable[[], object]]:
        there = tensorstore_at(bench, f"{name}/0", driver="zarr3")
        for box in bench.boxes(step, halo):
            part = there[tuple(slice(*span) for span in zip(box.start, box.stop, strict=True))]
            yield (lambda p=part: p.write(VALUES).result()) if write else (lambda p=part: p.read().result())

    return {
        "read: plain copy (tensorstore)": lambda: copy(write=False),
        "read: whole shards, by tensorstore": lambda: array("image", write=False),
        f"read: tiles of {TILE} with a halo of {HALO}, by tensorstore": lambda: array("image", False, TILE, HALO),
        "write: plain copy (tensorstore)": lambda: copy(write=True),
        "write: shards, by tensorstore": lambda: array("by-tensorstore", write=True),
    }


def all_rows(bench: Bench, folder: Bench) -> dict[str, Callable[[], Iterator[Callable[[], object]]]]:
    """Return what is measured, by its name."""
    tiles = f"read: tiles of {TILE} with a halo of {HALO}"
    rows: dict[str, Callable[[], Iterator[Callable[[], object]]]] = {
        READ_COPY: bench.get,
        "read: whole shards": lambda: bench.read(bench.boxes(SHARD)),
        "read: whole shards, from a folder": lambda: folder.read(bench.boxes(SHARD)),
        tiles: lambda: bench.read(bench.boxes(TILE, HALO)),
        f"{tiles}, from a folder": lambda: folder.read(bench.boxes(TILE, HALO)),
        WRITE_COPY: bench.put,
        "write: shards": lambda: bench.write("out"),
        "write: shards, to a folder": lambda: folder.write("out"),
    }
    return dict(
        sorted((rows | (of_tensorstore(bench) if HAS_TENSORSTORE and bench.root.startswith("s3") else {})).items())
    )


def prepare(bench: Bench) -> None:
    """Write the image that is read, and the arrays that are written."""
    for name in ("image", "out", "by-tensorstore"):
        bench.make(name)
    for write in bench.write("image"):
        write()
    clear_sources()


def timed(what: Callable[[], Iterator[Callable[[], object]]], threads: ThreadPoolExecutor, times: int) -> float:
    """Return the seconds of the fastest of several passes, without those of opening."""
    found = []
    for _ in range(times):
        clear_sources()
        calls = list(what())
        started = time.perf_counter()
        list(threads.map(lambda call: call(), calls))
        found.append(time.perf_counter() - started)
    return min(found)


def counted(what: Callable[[], Iterator[Callable[[], object]]], threads: ThreadPoolExecutor, s3: S3) -> int:
    """Return the requests of one pass, without those of opening."""
    clear_sources()
    calls = list(what())
    s3.forget()
    list(threads.map(lambda call: call(), calls))
    return len(s3.requests)


def table(bench: Bench, folder: Bench, threads: ThreadPoolExecutor, times: int, gate: tuple[Bench, S3] | None) -> None:
    """Print one server's table. ``gate``: the same store by way of the gate that counts."""
    prepare(bench)
    size = sum(map(len, bench.contents.values())) / 2**20
    seconds = {name: timed(what, threads, times) for name, what in all_rows(bench, folder).items()}
    requests: dict[str, int | str] = {}
    if gate is not None:
        requests = {name: counted(what, threads, gate[1]) for name, what in all_rows(gate[0], folder).items()}
    print(f"\n{bench.root}: {size:.0f} MiB stored in {len(bench.contents)} shards, {THREADS} threads\n")
    print("| | s | MiB/s | of the copy | requests |\n|---|---|---|---|---|")
    for name, value in seconds.items():
        share = seconds[READ_COPY if name.startswith("read") else WRITE_COPY] / value
        count = requests.get(name, "") if "folder" not in name else 0
        print(f"| {name} | {value:.2f} | {size / value:.0f} | {share:.2f} | {count} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    side, times = (SHARD * 2, 1) if parser.parse_args().short else (SHARD * 4, 3)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))
        folder = Bench(stack.enter_context(TemporaryDirectory()), None, side)
        prepare(folder)
        s3 = stack.enter_context(s3_server())
        bench, gate = (Bench(f"s3://{BUCKET}", at, side) for at in (f"http://127.0.0.1:{s3.port}", s3.endpoint))
        table(bench, folder, threads, times, (gate, s3))
        if azurite():
            cloud = stack.enter_context(cloud_server("azure"))
            table(Bench(cloud.root, cloud.endpoint, side), folder, threads, times, None)


if __name__ == "__main__":
    main()
