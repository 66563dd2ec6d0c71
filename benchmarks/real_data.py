"""Data as real microscopes make them: correlated noise, fill, few photons, wrong and large PSFs, a bright bead.

Each case has its truth, and is run by the command's own code with each solver; what was said, and refused, counts as a
result. PSNR after an affine fit, against the truth smoothed by a Gaussian of one pixel, where something was measured.

    python benchmarks/real_data.py --output build/real_data
    python benchmarks/real_data.py --output build/real_data --before build/real_data_before    both, side by side
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from _common import SHORT_TRAINING, Row, begin, plain_parser, say
from _real_cases import DARK, Case, cases
from numpy.typing import NDArray
from scipy import ndimage

from ssi_pipeline.benchmark.richardson_lucy import richardson_lucy
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import SsiError
from ssi_pipeline.physics import load_psf
from ssi_pipeline.run import run

SOLVERS = "wiener,tv_cg,ssi"

GOALS = {
    "control": "as before",
    "correlated": "not below the input, nor the best Richardson-Lucy",
    "fill": "as with NaN in its place",
    "flux": "flux .98 to 1.02",
    "told before": "said before any work, with what to set",
    "told": "said by every solver",
    "refused": "refused before any work",
    "bead": "nothing below the dark level; flux .99 to 1.01",
    "stack": "above the input and the best Richardson-Lucy; nothing blamed",
}

_MOST_ITERATIONS = 30


def psnr(image: NDArray[Any], truth: NDArray[np.float64]) -> float:
    """Return the PSNR of an image in dB, after an affine fit, against the smoothed truth; NaN for a constant."""
    known = np.isfinite(truth)
    if not np.ptp(image[known]) > 0:
        return float("nan")
    weight = ndimage.gaussian_filter(known.astype(np.float64), 1.0)
    goal = (ndimage.gaussian_filter(np.where(known, truth, 0.0), 1.0) / np.maximum(weight, 1e-9))[known]
    slope, offset = np.polyfit(image[known].astype(np.float64), goal, 1)
    error = slope * image[known].astype(np.float64) + offset - goal
    low, high = np.percentile(goal, [0.1, 99.9])
    return float(10 * np.log10((high - low) ** 2 / np.mean(error**2)))


def configured(folder: Path, case: Case, solver: str, changes: dict[str, Any]) -> RunConfig:
    """Write a case's files and return its configuration."""
    tifffile.imwrite(folder / "in.tif", case.image, photometric="minisblack")
    psf: Any = case.psf
    if isinstance(psf, np.ndarray):
        tifffile.imwrite(folder / "psf.tif", psf)
        psf = {"kind": "file", "path": str(folder / "psf.tif")}
    document: dict[str, Any] = {
        "input": {"path": str(folder / "in.tif"), "axes": case.axes},
        "output": {"path": str(folder / "out.zarr"), "dtype": "float32", "pyramid": False},
        "psf": psf,
        "solver": solver,
        "executor": {"kind": "serial", "device": "cpu"},
    }
    for name, section in (*case.sections.items(), *changes.items()):
        document[name] = {**document.get(name, {}), **section}
    return parse_config(document)


def trial(case: Case, solver: str, changes: dict[str, Any]) -> Row:
    """Run a case; returns its scores, and the lines on the screen that say something of the data or the PSF."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="ssi-real-") as folder:
        try:
            config = configured(Path(folder), case, solver, changes)
            with contextlib.redirect_stderr(said):
                run(config)
        except SsiError as error:
            return {"refused": str(error)}
        found = np.asarray(zarr.open_array(config.output.path / "0", mode="r")[...])
    known = np.isfinite(case.truth)
    light = [float((image[known] - _floor(case)).sum(dtype=np.float64)) for image in (found, case.image)]
    return {
        "psnr": psnr(found, case.truth),
        "flux": light[0] / light[1],
        "least": float(found[known].min()),
        "said": [line for line in said.getvalue().splitlines() if not line.startswith(_ROUTINE)],
    }


_ROUTINE = ("1 worker", "tiles:", "compute time", "complete:", "calibrating")


def _floor(case: Case) -> float:
    """Return the dark level of a case: the camera's, or 0 for counts of photons."""
    return DARK if np.nanmedian(case.truth) > DARK else 0.0


def references(case: Case) -> Row:
    """Return the PSNR of the input, and of the best of 1 to 30 iterations of Richardson-Lucy by the truth."""
    row: Row = {"input": psnr(case.image, case.truth), "richardson_lucy": None}
    if case.goal == "refused" or not isinstance(case.psf, dict):
        return row
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": case.psf}
    psf = load_psf(parse_config(document).psf[0], None, 3 if case.axes == "zyx" else 2)
    assert psf is not None
    values = psf.values if case.axes == "zyx" else psf.values[0]
    # outside of what was measured: its mean, as a user would fill it
    level = case.image[np.isfinite(case.truth)].mean()
    counts = np.where(np.isfinite(case.truth), case.image, level).astype(np.float64) - _floor(case)
    steps = zip(range(_MOST_ITERATIONS), richardson_lucy(counts.clip(0), values), strict=False)
    row["richardson_lucy"] = max(psnr(x, case.truth) for _, x in steps)
    return row


def line(name: str, case: Case, row: Row, before: Row | None, solvers: Sequence[str]) -> list[str]:
    """Return a line of the table."""
    cells = [name, f"{row['input']:.1f}", "" if row["richardson_lucy"] is None else f"{row['richardson_lucy']:.1f}"]
    for solver in solvers:
        cells += [_cell(kept["solvers"].get(solver)) for kept in (before, row) if kept is not None]
    return [*cells, GOALS[case.goal]]


def _cell(found: Row | None) -> str:
    """Return what happened: dB, flux where it is off by more than 2 %, the least value below 0, or the refusal."""
    if found is None:
        return ""
    if "refused" in found:
        return "refused"
    parts = [f"{found['psnr']:.1f}"]
    if not 0.98 <= found["flux"] <= 1.02:
        parts.append(f"flux {found['flux']:.2f}")
    if found["least"] < -1:
        parts.append(f"least {found['least']:.0f}")
    return ", ".join(parts) + (" (!)" if found["said"] else "")


def words(rows: Sequence[tuple[str, Case, Row]], solver: str) -> Iterator[list[str]]:
    """Yield, for each case, what was said or refused with a solver."""
    for name, _, row in rows:
        found = row["solvers"].get(solver, {})
        text = found.get("refused") or " / ".join(found.get("said", []))
        if text:
            yield [name, " ".join(text.replace("|", "/").split())]


def main(arguments: Sequence[str] | None = None) -> None:
    options = plain_parser(__doc__)
    options.add_argument("--solvers", default=SOLVERS)
    options.add_argument("--seed", type=int, default=0, help="of scenes and noise")
    options.add_argument("--only", help="part of the cases' names")
    options.add_argument("--before", type=Path, help="folder of rows of an earlier commit, shown beside")
    options = options.parse_args(arguments)
    short = {"only": "mean of 2 x 2", "solvers": "wiener"}
    with begin("real_data", options, short, SHORT_TRAINING) as study:
        changes: dict[str, Any] = {}
        for change in options.changes:
            key, _, value = change.partition("=")
            section, _, name = key.partition(".")
            changes.setdefault(section, {})[name] = json.loads(value)
        rows, solvers = [], options.solvers.split(",")
        for name, case in cases(options.seed):
            if options.only and options.only not in name:
                continue
            key, setup = _key(name, options.seed), {"changes": options.changes}
            row = study.row(f"{key}.references", setup, lambda c=case: references(c), device=None)
            row["solvers"] = {}
            for solver in solvers:
                found = study.row(f"{key}.{solver}", setup, lambda c=case, s=solver: trial(c, s, changes), device=None)
                row["solvers"][solver] = found
                say(f"{name}, {solver}: {_cell(found)}")
            rows.append((name, case, row))
        kept = {name: _before(options.before, _key(name, options.seed), solvers) for name, *_ in rows}
        headings = ["case", "input", "best Richardson-Lucy"]
        for solver in solvers:
            headings += [f"{solver}, before", f"{solver}, now"] if options.before else [solver]
        lines = [line(n, c, r, kept[n] if options.before else None, solvers) for n, c, r in rows]
        sheets = [Sheet("PSNR, dB", [*headings, "goal"], lines)]
        sheets += [Sheet(f"What is said, {s}", ["case", "text"], list(words(rows, s))) for s in solvers]
        study.finish("Real data", sheets)


def _key(name: str, seed: int) -> str:
    return f"{name.replace(' ', '_').replace(',', '')}.{seed}"


def _before(folder: Path | None, key: str, solvers: Sequence[str]) -> Row:
    """Return the rows of an earlier commit, by solver."""
    paths = {solver: folder / "rows" / f"{key}.{solver}.json" for solver in solvers} if folder else {}
    return {"solvers": {solver: json.loads(path.read_text()) for solver, path in paths.items() if path.is_file()}}


if __name__ == "__main__":
    main()
