"""Mutated inputs and PSF files, opened and planned: what ends in a traceback, a hang, or silently in another size?

Files of each kind (TIFF of several writers, zarr 2 and 3, PSFs as TIFF and npy) are changed by a seeded mutation:
flipped bits, cuts, swapped and overwritten bytes where headers and directories are, digits and keys of metadata,
chunks cut, emptied or removed. Each is opened and planned in this process, at most 10 s, with bounded memory.

    python benchmarks/fuzz_files.py --count 2000 --output build/fuzz

What a file ends in:

- refused: an error of this package, that names the file.
- same: as many bytes of pixels as before (damage of pixels is for the tiles to say, when they are read).
- said: another number of bytes, with a note.
- stated: another number of bytes without a note, where the file is consistent in itself. That is so for zarr
  arrays whose changed shape or dtype still has the chunk grid of the files that are there: nothing in a chunk says
  how many pixels it is of. And for a TIFF of one directory behind which as many bytes lie as it states.
- silent: another number of bytes, no note, not consistent. A fault.
- traceback: an exception that is no error of this package. A fault.
- hang: more than 10 s. A fault.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import SsiError
from ssi_pipeline.physics.psf_file import read_psf_file
from ssi_pipeline.run.checks.output_checks import check_output
from ssi_pipeline.run.planning import describe_plan
from ssi_pipeline.run.prepare import prepare
from ssi_pipeline.storage.inputs.source import clear_sources
from ssi_pipeline.tiff.directories import read_directories

LIMIT_S = 10
ADDRESS_SPACE = 6 * 2**30
FAULTS = ("traceback", "hang", "silent")
OUTCOMES = ("refused", "same", "said", "stated", *FAULTS)
_VALUES = (0, 1, 2, 3, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_JSON_VALUES = (0, 1, -1, 2**31, 2**62, 1e308, None, True, "", "zyx", "é\u0000", [], {}, [[]], "x" * 300, -0.5)
_SHAPE = (6, 40, 48)

Mutation = Callable[[np.random.Generator, Path], None]


class HangError(BaseException):
    """The time is up. No ``Exception``: what is opened must not take it for trouble with the file."""


@dataclass(frozen=True)
class Kind:
    """A file that is good, how it is written, mutated and named in a configuration."""

    name: str
    write: Callable[[Path], None]
    mutate: Mutation
    section: str = "input"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Name of the file or folder."""
        return {"t": "a.tif", "z": "a.zarr", "n": "a.npy"}[self.name.split(":")[1].strip()[0]]


# --- what is mutated ----------------------------------------------------------------------------------------------


def stack(shape: tuple[int, ...] = _SHAPE) -> np.ndarray:
    """Return an image (z y x) that does not compress to nothing."""
    return np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)


def _tiff(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tifffile.imwrite(path, stack(), **{"photometric": "minisblack", "metadata": {"axes": "ZYX"}, **options})

    return write


def _pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for plane in stack():
            tif.write(plane, contiguous=False, metadata=None, rowsperstrip=9, photometric="minisblack")


def _array(version: Any, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        array = zarr.create_array(path, shape=_SHAPE, dtype="u2", chunks=(2, 16, 16), zarr_format=version, **options)
        array[...] = stack()

    return write


def _ome_zarr(version: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        scales = [{"type": "scale", "scale": [0.5, 0.1, 0.1]}]
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        datasets = [{"path": "0", "coordinateTransformations": scales}]
        document: dict[str, Any] = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
        if version == "0.5":
            document = {"ome": {"version": version, **document}}
        root = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3, attributes=document)
        root.create_array("0", shape=_SHAPE, chunks=(2, 16, 16), dtype="u2")[...] = stack()

    return write


def _spot() -> np.ndarray:
    """Return a PSF (z y x) of 5 x 9 x 9 values, not symmetric."""
    z, y, x = np.indices((5, 9, 9))
    return np.exp(-((z - 2) ** 2) / 2 - ((y - 4) ** 2) / 3 - ((x - 4.2) ** 2) / 3).astype(np.float32)


def _npy(path: Path) -> None:
    np.save(path, _spot())


def _psf_tiff(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        tifffile.imwrite(path, _spot(), photometric="minisblack", metadata={"axes": "ZYX"}, **options)

    return write


# --- mutations ------------------------------------------------------------------------------------------------------


def mutate_bytes(rng: np.random.Generator, path: Path) -> None:
    """Change a binary file where its structure is: header, directories, text."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        if not data:
            break
        place = _place(rng, data)
        match rng.integers(0, 8):
            case 0:
                data[place] ^= 1 << rng.integers(0, 8)
            case 1:
                del data[int(rng.integers(0, len(data))) :]
            case 2:
                end = min(len(data), place + 4)
                data[place:end] = data[place:end][::-1]
            case 3:
                data[place : place + 4] = int(rng.choice(_VALUES)).to_bytes(4, "little")
            case 4:
                data[place : place + 2] = int(rng.integers(0, 2**16)).to_bytes(2, "little")
            case 5:
                data[place : place + 16] = bytes(len(data[place : place + 16]))
            case 6:
                del data[place : place + int(rng.integers(1, 9))]
            case 7:
                _change_digit(rng, data)
    path.write_bytes(data)


def _place(rng: np.random.Generator, data: bytearray) -> int:
    """Half of the places are in the first 512 bytes, a quarter in the last 2 KB, where directories may be."""
    where = rng.integers(0, 4)
    if where < 2:
        return int(rng.integers(0, min(512, len(data))))
    if where == 2:
        return int(rng.integers(max(0, len(data) - 2048), len(data)))
    return int(rng.integers(0, len(data)))


def _change_digit(rng: np.random.Generator, data: bytearray) -> None:
    """Change a digit of the text that describes the image."""
    for start in (b"<?xml", b"ImageJ=", b'{"shape"', b"{'descr'"):
        begin = data.find(start)
        if begin < 0:
            continue
        end = data.find(b"\0", begin)
        digits = [i for i in range(begin, end if end > 0 else len(data)) if 48 <= data[i] <= 57]
        if digits:
            data[int(rng.choice(digits))] = int(rng.integers(48, 58))


def mutate_zarr(rng: np.random.Generator, path: Path) -> None:
    """Change the metadata of an array or group, as JSON or as bytes, or its chunks."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    metadata = [p for p in files if p.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")]
    chunks = [p for p in files if p not in metadata]
    file = Path(str(rng.choice(np.array([str(p) for p in metadata]))))
    match rng.integers(0, 8):
        case 0 | 1 | 2 | 3:
            _mutate_json(rng, file)
        case 4:
            mutate_bytes(rng, file)
        case 5:
            file.unlink()
        case 6:
            chunk = Path(str(rng.choice(np.array([str(p) for p in chunks]))))
            chunk.write_bytes(chunk.read_bytes()[: int(rng.integers(0, 40))])
        case 7:
            for chunk in chunks[: int(rng.integers(1, len(chunks)))]:
                chunk.unlink()


def _mutate_json(rng: np.random.Generator, file: Path) -> None:
    document = json.loads(file.read_text())
    places = list(_places(document))
    if places:
        owner, key = places[int(rng.integers(0, len(places)))]
        change = rng.integers(0, 4)
        if change == 0:
            del owner[key]
        elif change == 1 and isinstance(owner[key], int):
            owner[key] = int(owner[key]) + int(rng.choice([-1, 1, 10, -100, 2**40]))
        else:
            owner[key] = _JSON_VALUES[int(rng.integers(0, len(_JSON_VALUES)))]
    file.write_text(json.dumps(document))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)


KINDS: tuple[Kind, ...] = (
    Kind("TIFF: tifffile", _tiff(), mutate_bytes),
    Kind("TIFF: tifffile, BigTIFF, big-endian", _tiff(bigtiff=True, byteorder=">"), mutate_bytes),
    Kind("TIFF: tiles, deflate", _tiff(tile=(16, 16), compression="zlib"), mutate_bytes),
    Kind("TIFF: tif of ImageJ", _tiff(imagej=True), mutate_bytes),
    Kind("TIFF: tif of OME", _tiff(ome=True), mutate_bytes),
    Kind("TIFF: tif of OME, deflate", _tiff(ome=True, compression="zlib"), mutate_bytes),
    Kind("TIFF: tif of one page each", _pages, mutate_bytes, options={"axes": "zyx"}),
    Kind("zarr: zarr 2", _array(2), mutate_zarr, options={"axes": "zyx"}),
    Kind("zarr: zarr 3", _array(3), mutate_zarr, options={"axes": "zyx"}),
    Kind("zarr: zarr 3, shards", _array(3, shards=(6, 32, 32)), mutate_zarr, options={"axes": "zyx"}),
    Kind("zarr: zarr of OME 0.4", _ome_zarr("0.4"), mutate_zarr),
    Kind("zarr: zarr of OME 0.5", _ome_zarr("0.5"), mutate_zarr),
    Kind("PSF: tifffile", _psf_tiff(), mutate_bytes, "psf"),
    Kind("PSF: tif of ImageJ", _psf_tiff(imagej=True), mutate_bytes, "psf"),
    Kind("PSF: tif, deflate", _psf_tiff(compression="zlib"), mutate_bytes, "psf"),
    Kind("PSF: npy", _npy, mutate_bytes, "psf"),
)


# --- one file -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one mutated file, and a sentence on it."""

    outcome: str
    text: str


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def plan_size(folder: Path, kind: Kind) -> tuple[int, tuple[str, ...]]:
    """Open and plan as `ssi plan` does; returns the bytes of the image's pixels (of the PSF's), and the notes."""
    image = folder / "image.zarr"
    if kind.section == "psf" and not image.exists():
        _array(3)(image)
    document: dict[str, Any] = {
        "input": {"path": image.name, "axes": "zyx"},
        "output": {"path": "out.zarr"},
        "psf": {"kind": "identity"},
        "solver": "wiener",
        "executor": {"kind": "serial", "memory_gib": 8},
    }
    if kind.section == "psf":
        document["psf"] = {"kind": "file", "path": kind.target, "center": "peak", "energy": 0.9}
        document["tiling"] = {"dimensions": 3}
    else:
        document["input"] = {"path": kind.target, **kind.options}
    config = parse_config(document, folder)
    clear_sources()
    prepared = prepare(config)
    check_output(prepared, new=False, ignore_disk=False)
    describe_plan(prepared, None)
    if kind.section == "psf":
        return read_psf_file(folder / kind.target)[0].nbytes, ()
    volume = prepared.document.volume
    return int(math.prod(volume.shape)) * np.dtype(volume.dtype).itemsize, prepared.document.notes


def judge(folder: Path, kind: Kind, size: int) -> Finding:
    """Open and plan a mutated file."""
    try:
        with limited(LIMIT_S):
            found, notes = plan_size(folder, kind)
    except SsiError as error:
        return Finding("refused", str(error))
    except HangError:
        return Finding("hang", traceback.format_exc(limit=-4))
    except (Exception, MemoryError, RecursionError):
        return Finding("traceback", traceback.format_exc(limit=-6))
    if found == size:
        return Finding("same", "")
    text = f"{found} bytes in place of {size}; notes: {'; '.join(notes)}"
    if notes:
        return Finding("said", text)
    target = folder / kind.target
    return Finding("stated" if _same_grid(target) or _one_directory(target, found) else "silent", text)


def _one_directory(path: Path, found: int) -> bool:
    """Tell whether a TIFF has one directory only, and as many bytes after it as are read."""
    if path.suffix != ".tif" or read_directories(path).pages != 1:
        return False
    with tifffile.TiffFile(path) as tif:
        return tif.pages.first.dataoffsets[0] + found <= path.stat().st_size


def _same_grid(path: Path) -> bool:
    """Tell whether the chunk files that are there are those of the array's grid, neither fewer nor more."""
    if not path.is_dir():
        return False
    try:
        node = zarr.open(path, mode="r")
        array: Any = node if isinstance(node, zarr.Array) else node["0"]
        inner = path / array.path if array.path else path
        files = [p for p in inner.rglob("*") if p.is_file() and p.name not in ("zarr.json", ".zarray", ".zattrs")]
        step = array.shards or array.chunks
        return len(files) == math.prod(-(-n // s) for n, s in zip(array.shape, step, strict=True))
    except Exception:
        return False


def fuzz(kinds: Sequence[Kind], count: int, seed: int, output: Path | None) -> dict[str, Counter[str]]:
    """Mutate ``count`` files spread over the kinds; faults are kept in ``output``."""
    table: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        for number in range(count):
            kind = kinds[number % len(kinds)]
            folder = Path(name, kind.name.replace(" ", "_"))
            good = folder / "good" / kind.target
            if not good.exists():
                good.parent.mkdir(parents=True)
                kind.write(good)
                _copy(good, folder / kind.target)
                (folder / "size").write_text(str(plan_size(folder, kind)[0]))
            _copy(good, folder / kind.target)
            kind.mutate(np.random.default_rng((seed, number)), folder / kind.target)
            finding = judge(folder, kind, int((folder / "size").read_text()))
            table[kind.name][finding.outcome] += 1
            if finding.outcome in FAULTS:
                print(f"{kind.name}, number {number}: {finding.outcome}: {finding.text.strip()}", file=sys.stderr)
                if output is not None:
                    _copy(folder / kind.target, output / "faults" / f"{number}-{kind.target}")
    clear_sources()
    return table


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


def show(table: dict[str, Counter[str]]) -> str:
    """Return the counts as a table in Markdown."""
    rows = [f"| kind | files | {' | '.join(OUTCOMES)} |", "|---|" + "---:|" * (len(OUTCOMES) + 1)]
    total: Counter[str] = sum(table.values(), Counter())
    for name, counts in [*table.items(), ("all", total)]:
        rows.append(f"| {name} | {counts.total()} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; returns the number of faults, at most 100."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="mutated files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="only kinds whose name holds this, for instance TIFF or PSF")
    parser.add_argument("--output", type=Path, help="folder for the table and for files that show a fault")
    parser.add_argument("--short", action="store_true", help="four files of each kind")
    options = parser.parse_args(arguments)
    kinds = [kind for kind in KINDS if options.kinds in kind.name]
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, limits[1]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = fuzz(kinds, 4 * len(kinds) if options.short else options.count, options.seed, options.output)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    print(show(table))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "summary.md").write_text(show(table) + "\n")
    return min(100, sum(counts[outcome] for counts in table.values() for outcome in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
