"""How fast images are read from and written to an object store, beside a plain copy of the same objects by obstore.

    python benchmarks/object_store.py          an image of 256 MB in shards of 8 MB; prints a table
    python benchmarks/object_store.py --short  16 MB

A real S3 server (moto) runs in a process of its own; requests pass a gate that counts them, the slowest part: only
ratios of two rows of one run mean anything. The plain copy gets or puts each object whole, with as many threads, and
decodes and encodes nothing. Needs moto and obstore: pip install '.[dev]'. With tests/ on the path, whose server it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zarr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from s3_server import S3, s3_server

from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.config.url import Place, parse_url
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.source import open_source
from ssi_pipeline.storage.inputs.source_protocol import Source, SourceSpec
from ssi_pipeline.storage.outputs.checksums import compressors
from ssi_pipeline.storage.outputs.sink import Sink
from ssi_pipeline.storage.store import Store, store_of

SHARD, CHUNK, HALO = 2048, 256, 32
THREADS = 4


def write_image(store: Store, side: int) -> int:
    """Write noise in shards; returns the bytes stored."""
    values = np.random.default_rng(0).poisson(100, (SHARD, SHARD)).astype(np.uint16)
    array = zarr.create_array(
        store.zarr(writable=True), shape=(1, side, side), shards=(1, SHARD, SHARD), chunks=(1, CHUNK, CHUNK),
        dtype="uint16", dimension_names=("z", "y", "x"),
    )  # fmt: skip
    for y in range(0, side, SHARD):
        for x in range(0, side, SHARD):
            array[0, y : y + SHARD, x : x + SHARD] = values
    return sum(entry.size for entry in store.list("c"))


def copy_to(store: Store, folder: Path) -> str:
    """Copy all objects to a folder."""
    there = store_of(folder)
    for entry in store.list():
        there.write(entry.key, store.read(entry.key))
    return str(folder)


def read(source: Source, boxes: list[Box], threads: ThreadPoolExecutor) -> None:
    """Read boxes, several at a time."""
    for _ in threads.map(lambda box: source.read(0, 0, box), boxes):
        pass


def sink_at(place: Place, side: int) -> Sink:
    """Return the output of a run, with one level."""
    group = store_of(place).zarr(writable=True) if not isinstance(place, Path) else place
    zarr.create_group(group).create_array(
        "0", shape=(1, side, side), shards=(1, SHARD, SHARD), chunks=(1, CHUNK, CHUNK), dtype="uint16",
        compressors=compressors(3, 3), dimension_names=("z", "y", "x"),
    )  # fmt: skip
    return Sink(place, "zyx", (1, SHARD, SHARD), writable=True)


def write(sink: Sink, boxes: list[Box], threads: ThreadPoolExecutor) -> None:
    """Write shards of noise, several at a time."""
    values = np.random.default_rng(0).poisson(100, (1, SHARD, SHARD)).astype(np.uint16)
    sink.level(0)
    for _ in threads.map(lambda box: sink.write(0, 0, 0, box, values), boxes):
        pass


def put(store: Store, contents: list[bytes], threads: ThreadPoolExecutor) -> None:
    """Write objects, several at a time."""
    for _ in threads.map(lambda i: store.write(f"copy/{i}", contents[i]), range(len(contents))):
        pass


def timed(s3: S3, what: Callable[[], object]) -> tuple[float, int]:
    """Return seconds and requests."""
    s3.forget()
    started = time.perf_counter()
    what()
    return time.perf_counter() - started, len(s3.requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    side = SHARD * (2 if parser.parse_args().short else 8)
    with s3_server() as s3, ThreadPoolExecutor(THREADS) as threads, TemporaryDirectory() as folder:
        place = parse_url("s3://tests/image.zarr", StorageConfig(endpoint=s3.endpoint))
        store = store_of(place)
        size = write_image(store, side)
        keys = [entry.key for entry in store.list("c")]
        source, local = open_source(SourceSpec(place)), open_source(SourceSpec(copy_to(store, Path(folder))))
        corners = [(y, x) for y in range(0, side, SHARD) for x in range(0, side, SHARD)]
        whole = [Box((0, y, x), (1, y + SHARD, x + SHARD)) for y, x in corners]
        halves = [
            Box((0, max(0, y - HALO), max(0, x - HALO)), (1, min(side, y + 1024 + HALO), min(side, x + 1024 + HALO)))
            for y in range(0, side, 1024)
            for x in range(0, side, 1024)
        ]
        rows = {
            "plain copy (obstore)": timed(s3, lambda: list(threads.map(store.read, keys))),
            "read by whole shards": timed(s3, lambda: read(source, whole, threads)),
            "the same from a folder": timed(s3, lambda: read(local, whole, threads)),
            "read by tiles of 1024 with a halo of 32": timed(s3, lambda: read(source, halves, threads)),
            "the same from a folder, by tiles": timed(s3, lambda: read(local, halves, threads)),
        }
        remote = sink_at(parse_url("s3://tests/out.zarr", StorageConfig(endpoint=s3.endpoint)), side)
        beside = sink_at(Path(folder, "out.zarr"), side)
        contents = [store.read(key) for key in keys]
        put_s = (copied := timed(s3, lambda: put(store, contents, threads)))[0]
        written = {
            "plain copy to the store (obstore)": copied,
            "written by shards, as by a run": timed(s3, lambda: write(remote, whole, threads)),
            "the same to a folder": timed(s3, lambda: write(beside, whole, threads)),
        }
        print(f"{size / 2**20:.0f} MiB stored in {len(keys)} shards, {len(halves)} tiles, {THREADS} threads\n")
        print("| | s | MiB/s | of the copy | requests |\n|---|---|---|---|---|")
        copy_s = rows["plain copy (obstore)"][0]
        for name, (seconds, requests) in (rows | written).items():
            share = (put_s if name in written else copy_s) / seconds
            print(f"| {name} | {seconds:.2f} | {size / 2**20 / seconds:.0f} | {share:.2f} | {requests} |")


if __name__ == "__main__":
    main()
