"""One network for many tiles, against one for each tile and the classical solvers, on large scenes with truth.

A scene of one kind of content (`mixed`: four) is cut into tiles; all is run by the command's own code, without the
scores of tiles. PSNR after an affine fit, estimate and truth smoothed in the plane by a Gaussian of one pixel (with the
truth alone smoothed, as in real_data.py, the truth itself has 22 to 30 dB here). It is taken over the first
``--scored`` tiles along each axis (of a stack over as many planes), which are all that solvers without a shared network
are given. CPU seconds of the whole process: before the first tile (calibration, training of a shared network), and for
each megapixel after.

    python benchmarks/volume.py --output build/volume
    python benchmarks/volume.py --output build/published --images DIR --tile 256    the published protocol
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from _common import Row, begin, plain_parser, say
from _volume_scenes import CONTENTS, Scene, published, simulated
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.yaml_text import parse_yaml
from ssi_pipeline.physics import load_psf
from ssi_pipeline.run import run
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.ledger import records_of
from ssi_pipeline.storage.state.records import KINDS

SOLVERS = "wiener,tv_cg,per_tile,shared,fine_tune"

_SHORT = (
    "training.steps=12",
    "training.patch=32",
    "training.batch=2",
    "training.select=network",
    "network.width=4",
)
"""Options of the short form: enough for a shared network to be better than the linear solution."""

_MOST_ITERATIONS = 30


def score(image: NDArray[Any], truth: NDArray[np.float64]) -> float:
    """Return the PSNR of an image in dB, after an affine fit, both smoothed in the plane by a Gaussian of one pixel."""
    sigma = (0,) * (image.ndim - 2) + (1.0, 1.0)
    found, goal = (ndimage.gaussian_filter(a.astype(np.float64), sigma).ravel() for a in (image, truth))
    slope, offset = np.polyfit(found, goal, 1)
    low, high = np.percentile(goal, [0.1, 99.9])
    return float(10 * np.log10((high - low) ** 2 / np.mean((slope * found + offset - goal) ** 2)))


class Volume:
    """A scene on disk, cut into tiles."""

    def __init__(self, scene: Scene, tile: int, scored: int, folder: Path, changes: Sequence[str]) -> None:
        self.scene, self.tile, self.folder, self.changes = scene, tile, folder, changes
        planes = [[0, min(scored**2, scene.image.shape[0])]] if scene.axes == "zyx" else []
        sides = [[0, min(scored * tile, n)] for n in scene.image.shape[-2:]]
        self.roi = dict(zip(scene.axes, planes + sides, strict=True))
        tifffile.imwrite(folder / "in.tif", scene.image, photometric="minisblack")
        self.psf: Any = scene.psf
        if isinstance(scene.psf, np.ndarray):
            tifffile.imwrite(folder / "psf.tif", scene.psf)
            self.psf = {"kind": "file", "path": str(folder / "psf.tif")}

    @property
    def scored(self) -> tuple[slice, ...]:
        """The part that is scored."""
        return tuple(slice(*span) for span in self.roi.values())

    def config(self, name: str, solver: str, whole: bool, **training: Any) -> RunConfig:
        """Return the configuration of a run on the whole scene, or on the part that is scored."""
        document: dict[str, Any] = {
            "input": {"path": str(self.folder / "in.tif"), "axes": self.scene.axes},
            "output": {"path": str(self.folder / f"{name}.zarr"), "dtype": "float32", "pyramid": False},
            "psf": self.psf,
            "solver": solver,
            "tiling": {"core": {"y": self.tile, "x": self.tile}},
            "training": training,
            "quality": {"extended": False},
            "executor": {"kind": "serial", "device": "cpu"},
        }
        if not whole:
            document["input"]["roi"] = self.roi
        for change in self.changes:
            key, _, value = change.partition("=")
            section, _, option = key.partition(".")
            document.setdefault(section, {}).setdefault(option, parse_yaml(value))
        return parse_config(document)

    def row(self, config: RunConfig, whole: bool) -> Row:
        """Run; return PSNR, and CPU seconds before the first tile and for each megapixel."""
        started = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            run(config)
        spent = time.process_time() - started
        found = np.asarray(zarr.open_array(config.output.path / "0", mode="r")[...])
        records = list(records_of(StatePaths(config.state_path).ledger, *KINDS))
        before = sum(r.seconds for r in records if r.kind in ("calibrate", "train"))
        before *= spent / sum(r.seconds for r in records)
        methods = [r.method for r in records if r.kind == "solve"]
        return {
            "psnr": score(found[self.scored] if whole else found, self.scene.truth[self.scored]),
            "before": before,
            "per_megapixel": (spent - before) / (found.size / 1e6),
            "methods": {name: methods.count(name) for name in sorted(set(methods))},
            "notes": sorted({str(r.quality.get("note") or "") for r in records} - {""})[:3],
        }

    def alone(self, name: str) -> Row:
        """Return the row of a solver that needs no other tiles."""
        solver, training = ("ssi", {"scope": name}) if name == "per_tile" else (name, {})
        return self.row(self.config(name, solver, False, **training), False)

    def together(self, tiles: int, tuned: bool) -> Row:
        """Return the rows of a network that is trained on some tiles: applied as it is, and tuned on each tile."""
        shared = self.config("shared", "ssi", True, scope="shared", shared_tiles=tiles)
        rows = {"shared": self.row(shared, True)}
        models = shared.state_path / "models"
        if tuned and models.is_dir():  # there is none where the shared training failed
            found = self.row(self.config("fine_tune", "ssi", False, scope="fine_tune", start_from=str(models)), False)
            rows["fine_tune"] = {**found, "before": found["before"] + rows["shared"]["before"]}
        return rows

    def references(self) -> Row:
        """Return the PSNR of the input, and of the best number of Richardson-Lucy's iterations by the truth."""
        document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": self.psf}
        psf = load_psf(parse_config(document).psf[0], None, 2)
        assert psf is not None
        truth, counts = self.scene.truth[self.scored], self.scene.image[self.scored].astype(np.float64)
        planes = (counts - self.scene.dark).clip(0).reshape(-1, *counts.shape[-2:])
        steps = islice(zip(*(richardson_lucy(p, psf.values[0]) for p in planes), strict=True), _MOST_ITERATIONS)
        return {
            "input": score(counts, truth),
            "richardson_lucy": max(score(np.stack(x).reshape(truth.shape), truth) for x in steps),
        }


def scenes(options: Any) -> Iterator[tuple[str, Scene]]:
    """Yield name and scene: the published images of a folder, or simulated ones of each content and light."""
    if options.images:
        yield "published", published(options.images, options.tile)
        return
    for content in options.contents.split(","):
        for light in options.light.split(","):
            side = options.tile * options.across
            yield f"{content}, {light}", simulated(content, light, options.seed, side)
    if options.planes:
        yield "stack of nuclei, dim", simulated("nuclei", "dim", options.seed, options.tile, options.planes)


def line(name: str, rows: dict[str, Row], headings: Sequence[str]) -> list[str]:
    """Return a line of the table: dB, and CPU seconds before and for each megapixel."""
    found = rows["references"]
    return [name, f"{found['input']:.2f}", f"{found['richardson_lucy']:.2f}", *(_cell(rows.get(h)) for h in headings)]


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row['psnr']:.2f} ({row['before']:.0f} + {row['per_megapixel']:.0f})" + _other(row)


def _other(row: Row) -> str:
    """Return a mark where tiles of a network took another solver's estimate."""
    found = row["methods"]
    return f" {found.get('network', 0)} of {sum(found.values())}" if len(found) > 1 or "network" in found else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--contents", default=",".join(CONTENTS))
    parser.add_argument("--light", default="dim,bright", help="90 and 600 photons")
    parser.add_argument("--planes", type=int, default=16, help="of the stack; 0: none")
    parser.add_argument("--images", type=Path, help="folder of images, by the published protocol, in place of scenes")
    parser.add_argument("--solvers", default=SOLVERS)
    parser.add_argument("--trained", default="1,4,16", help="numbers of tiles that the shared network is trained on")
    parser.add_argument("--tile", type=int, default=192, help="side of a tile's core")
    parser.add_argument("--across", type=int, default=4, help="tiles along each axis")
    parser.add_argument("--scored", type=int, default=2, help="tiles along each axis that are scored")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and noise")
    options = parser.parse_args(arguments)
    short = {
        "contents": "nuclei",
        "light": "dim",
        "planes": 0,
        "trained": "2",
        "tile": 64,
        "across": 2,
        "scored": 1,
        "solvers": "wiener,shared",
    }
    with begin("volume", options, short, _SHORT) as study:
        solvers, lines = options.solvers.split(","), []
        joint = [s for s in ("shared", "fine_tune") if s in solvers]
        counts = [int(n) for n in options.trained.split(",")] if joint else []
        headings = [*(s for s in solvers if s not in joint), *(f"{s}, {n}" for n in counts for s in joint)]
        for name, scene in scenes(options):
            setup = {k: getattr(options, k) for k in ("tile", "across", "scored", "seed", "changes", "planes")}
            key, rows = name.replace(" ", "_").replace(",", ""), {}
            with tempfile.TemporaryDirectory(prefix="ssi-volume-") as folder:
                volume = Volume(scene, options.tile, options.scored, Path(folder), options.changes)
                rows["references"] = study.row(f"{key}.references", setup, volume.references)
                for solver in (s for s in solvers if s not in joint):
                    rows[solver] = study.row(f"{key}.{solver}", setup, lambda v=volume, s=solver: v.alone(s))
                    say(f"{name}, {solver}: {_cell(rows[solver])}")
                for n in counts:
                    with tempfile.TemporaryDirectory(prefix="ssi-volume-") as other:
                        volume = Volume(scene, options.tile, options.scored, Path(other), options.changes)
                        make = lambda v=volume, n=n: v.together(n, "fine_tune" in joint)  # noqa: E731
                        found = study.row(f"{key}.{'_'.join(joint)}.{n}", setup, make)
                    rows |= {f"{s}, {n}": found[s] for s in joint if s in found}
                    say(f"{name}, {n} tiles: {', '.join(_cell(found.get(s)) for s in joint)}")
            lines.append(line(name, rows, headings))
        title = "PSNR, dB (CPU seconds before the first tile + for each megapixel)"
        sheet = Sheet(title, ["scene", "input", "best Richardson-Lucy", *headings], lines)
        study.finish("One network for many tiles", [sheet])


if __name__ == "__main__":
    main()
