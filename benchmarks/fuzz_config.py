"""Thousands of damaged configurations: each is planned or refused in words, within ten seconds.

    python benchmarks/fuzz_config.py                  10,000 of them, some ten minutes
    python benchmarks/fuzz_config.py --short          100
    python benchmarks/fuzz_config.py --only 1234      one again, with its text and what comes of it

The files of workflows/, the template and one configuration for each kind of PSF with every option in it are changed in
values, types, structure and raw bytes, and then loaded, explained and planned in this process. Counted are errors that
are none of ours, hangs, memory beyond 4 GiB above the start's, and plans that read another region than the text says.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import psutil
import tifffile
import yaml
import zarr
from _mutations import mutate

from ssi_pipeline.config import RunConfig, load_config, parse_config
from ssi_pipeline.config.template import template_text
from ssi_pipeline.errors import SsiError
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.run.planning import describe_plan
from ssi_pipeline.run.prepare import Prepared, prepare

WORKFLOWS = Path(__file__).parents[1] / "workflows"
LIMIT_S, PATIENCE_S, MEMORY = 10, 200, 4 * 2**30
"""``LIMIT_S``: of this process' time, which others on a busy machine do not use up; ``PATIENCE_S``: by the clock."""

PSFS: tuple[dict[str, Any], ...] = (
    {"kind": "identity"},
    {"kind": "gaussian", "fwhm_um": {"z": 0.5, "y": 0.2, "x": 0.2}},
    {"kind": "file", "path": "psf.npy", "background": "border", "center": "peak"},
    {
        "kind": "widefield",
        "numerical_aperture": 0.8,
        "wavelength_um": 0.5,
        "support_um": {"z": 1, "y": 1, "x": 1},
    },
    {"kind": "confocal", "numerical_aperture": 0.8, "wavelength_um": 0.5, "excitation_wavelength_um": 0.45},
    {"kind": "light_sheet", "numerical_aperture": 0.8, "wavelength_um": 0.5, "sheet_fwhm_um": 2.0},
    {"kind": "two_photon", "numerical_aperture": 0.8, "excitation_wavelength_um": 0.9},
    {"kind": "gibson_lanni", "numerical_aperture": 0.8, "wavelength_um": 0.5, "support_um": {"y": 0.5, "x": 0.5}},
)


class Hang(BaseException):
    """It took longer than ``LIMIT_S``; no part of the package catches it."""


@dataclass(slots=True)
class Tally:
    """Results of all configurations; ``found``: number, fault, and details."""

    ends: Counter[str] = field(default_factory=Counter)
    found: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: float = 0.0


def main(arguments: list[str] | None = None) -> Tally:
    """Make them, plan them, print what came of it."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="ssi-fuzz-") as name, _limits():
        folder = Path(name)
        bases = _bases(folder)
        for base, text in bases.items():
            _judge(folder, text, -1, unchanged := Tally())
            assert unchanged.ends["planned"], (base, unchanged.found, _plan(folder / "run.yaml"))
        tally = Tally()
        numbers = [options.only] if options.only is not None else range(options.count)
        for number in numbers:
            chance = random.Random(f"{options.seed}/{number}")
            base = chance.choice(sorted(bases))
            raw = mutate(bases[base], chance)
            if options.only is not None:
                print(f"{base}, changed:\n{raw.decode('utf-8', 'backslashreplace')}")
            _judge(folder, raw, number, tally)
            if (number + 1) % 100 == 0:
                print(f"{number + 1}: {dict(tally.ends)}", file=sys.stderr, flush=True)
    _print(tally, options)
    return tally


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--short", action="store_const", const=100, dest="count", help="100 of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one of them again")
    return parser.parse_args(arguments)


def _bases(folder: Path) -> dict[str, bytes]:
    """Write the images that the configurations name, and return their texts by name."""
    images = {"input": ("zyx", (4, 96, 80)), "stack": ("zyx", (24, 96, 80)), "timelapse": ("tcyx", (3, 2, 96, 80))}
    for name, (axes, shape) in images.items():
        values = np.random.default_rng(0).integers(0, 1000, shape, np.uint16)
        zarr.create_array(folder / f"{name}.zarr", data=values, dimension_names=tuple(axes))
    stack = np.random.default_rng(0).integers(0, 1000, (24, 96, 80), np.uint16)
    tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
    np.save(folder / "psf.npy", np.outer(np.hanning(9), np.hanning(9)))
    # many images are planned one by one, each as one of the others
    files = (path for path in WORKFLOWS.glob("*.yaml") if "images:" not in path.read_text())
    texts = {path.name: path.read_text() for path in files} | {"template": template_text()}
    for psf in PSFS:
        plain: dict[str, Any] = {"input": {"path": "input.zarr"}, "output": {"path": "o.zarr"}, "psf": psf}
        plain["input"] |= {"voxel_size_um": {"z": 0.3, "y": 0.1, "x": 0.1}, "roi": {"z": [0, 2], "y": [16, 96]}}
        document = parse_config(plain, base=folder).model_dump(mode="json")
        texts[f"all options, {psf['kind']}"] = yaml.safe_dump(document)
    return {name: text.encode() for name, text in texts.items()}


@contextmanager
def _limits() -> Iterator[None]:
    """Bound the memory of this process, and turn the alarm into ``Hang``."""

    def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 the system's signature
        raise Hang

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    before_ring = {number: signal.signal(number, ring) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        for number, handler in before_ring.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _judge(folder: Path, raw: bytes, number: int, tally: Tally) -> None:
    path = folder / "run.yaml"
    path.write_bytes(raw)
    started = time.process_time()
    details = ""
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    signal.alarm(PATIENCE_S)
    try:
        end, details = _plan(path)
    except Hang:
        end, details = "hang", traceback.format_exc()
    except Exception as error:
        end, details = f"traceback: {type(error).__name__}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    tally.slowest = max(tally.slowest, time.process_time() - started)
    tally.ends[end] += 1
    if end not in ("planned", "refused"):
        tally.found.append((number, end, details))
        print(f"{number}: {end}\n{details[-3000:]}", file=sys.stderr, flush=True)


def _plan(path: Path) -> tuple[str, str]:
    """Load, explain and plan; returns how it ended."""
    try:
        config = load_config(path)
        prepared = prepare(config)
        rows = describe_plan(prepared, None)
    except (SsiError, OSError) as error:  # what the command line prints in a line
        text = str(error)
        strange = [c for c in text if not c.isprintable() and c not in "\n\t"]
        return ("unprintable words", ascii(text)) if strange or not text else ("refused", text)
    assert all(value for _, value in rows)
    wrong = _other_size(path, config, prepared)
    return ("another region", wrong) if wrong else ("planned", "")


def _other_size(path: Path, config: RunConfig, prepared: Prepared) -> str:
    """Tell how what will be read differs from what the text says, as plain PyYAML understands it."""
    said: Any = {}
    with suppress(yaml.YAMLError, ValueError):
        said = (
            yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["input"].get("roi") or {}
        )
    if {str(axis) for axis in said} != set(config.input.roi):
        return f"the text says roi {said}, the configuration {config.input.roi}"
    whole = prepared.document.volume.shape
    ranges = [config.input.roi.get(axis, (0, n)) for axis, n in zip(AXES, whole, strict=True)]
    expected = tuple(stop - start for start, stop in ranges)
    found = prepared.document.plan.shape
    return "" if found == expected else f"expected {expected} (t c z y x), found {found}"


def _print(tally: Tally, options: argparse.Namespace) -> None:
    for number, end, details in tally.found:
        print(f"\n{number}: {end} (again: --seed {options.seed} --only {number})\n{details[-3000:]}")
    total = sum(tally.ends.values())
    print(f"\nseed {options.seed}: {total} configurations, the slowest took {tally.slowest:.1f} s")
    for end, count in tally.ends.most_common():
        print(f"  {end}: {count}")


if __name__ == "__main__":
    sys.exit(1 if main().found else 0)
