"""`ssi psf fit` on images whose PSF is known: is the true value found, or is it said that the data cannot tell?

    python benchmarks/psf_fit.py --output build/psf-fit              # own scenes, seeds 0-2
    python benchmarks/psf_fit.py --images FOLDER --only camera,cell  # published protocol: 3.045 um out of focus
    python benchmarks/psf_fit.py --short

Each configuration has a wrong value. A row has the value found with its interval, or "cannot tell"; for the defocus
also the scale-invariant PSNR of the Wiener filter with the wrong, the fitted and the true PSF. A wrong answer is a
value that is told and more than 10 % off, or whose interval excludes the truth.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from _common import Row, begin, parser, pictures, say
from _real_cases import Floats, camera, digitised, inside, light
from scipy.signal import fftconvolve

import ssi_pipeline as ssi
from ssi_pipeline.benchmark.protocol import PIXEL_UM, benchmark_psf, degrade
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.workbench.fit.fit import PsfFit, fit_psf

WATER: dict[str, Any] = {
    "kind": "gibson_lanni",
    "numerical_aperture": 0.8,
    "wavelength_um": 0.6,
    "magnification": 16,
    "sample_index": 1.33,
    "immersion_index": 1.33,
    "working_distance_um": 3000,
}
"""The microscope of the published protocol, in focus."""

WIDEFIELD: dict[str, Any] = {
    "kind": "widefield",
    "numerical_aperture": 0.8,
    "wavelength_um": 0.52,
    "refractive_index": 1.33,
}

SIDE, PIXEL = 256, (1.0, 0.2, 0.2)
PEAK = {"dim": 90.0, "bright": 600.0}
EDGE = 16
"""Pixels at the border that do not count for the PSNR."""


@dataclass(frozen=True)
class Case:
    """An image z y x or y x, its true PSF, and the option with a wrong value."""

    name: str
    image: np.ndarray
    truth: Floats
    voxel: tuple[float, float, float]
    psf: dict[str, Any]
    free: str
    option: str
    wrong: Any

    @property
    def value(self) -> float:
        """The true value."""
        return _scalar(self.psf[self.option])

    def section(self, value: Any) -> dict[str, Any]:
        """Return the section of the PSF with another value."""
        return {**self.psf, self.option: value}


def _scalar(value: Any) -> float:
    return float(value["x"] if isinstance(value, dict) else value)


def kernel(section: dict[str, Any], voxel: tuple[float, float, float], dimensions: int) -> Floats:
    """Return nearly all of a PSF, z y x."""
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {**section, "energy": 0.9995}}
    found = load_psf(parse_config(document).psf[0], voxel, dimensions)
    assert found is not None
    return found.values.astype(float)


def published(name: str, picture: np.ndarray) -> Case:
    """Return a picture by the published protocol."""
    section = {**WATER, "defocus_um": -3.045}
    image = degrade(picture, benchmark_psf())
    return Case(f"{name}, published", image, picture, (1.0, PIXEL_UM, PIXEL_UM), section, "defocus", "defocus_um", -2.0)


def planes(seed: int, level: str) -> Iterator[Case]:
    """Yield a plane of cells, fibres and points: out of focus, and blurred by a Gaussian."""
    scene = light(seed, PEAK[level], (SIDE, SIDE))
    gaussian = {"kind": "gaussian", "fwhm_px": {"y": 4.0, "x": 4.0}}
    cases = [
        ("defocus", "defocus_um", {**WIDEFIELD, "defocus_um": 2.5}, 1.5),
        ("fwhm", "fwhm_px", gaussian, {"y": 3.2, "x": 3.2}),
    ]
    for free, option, section, wrong in cases:
        blurred = fftconvolve(scene, kernel(section, PIXEL, 2)[0], mode="same")
        image = digitised(inside(camera(np.maximum(blurred, 0), seed)))
        yield Case(f"scene {seed}, {level}", image, inside(scene), PIXEL, section, free, option, wrong)


def fitted(case: Case) -> PsfFit:
    """Fit the wrong configuration of a case."""
    axes = "zyx"[-case.image.ndim :]
    with tempfile.TemporaryDirectory(prefix="ssi-psf-fit-") as folder:
        tifffile.imwrite(Path(folder, "image.tif"), case.image)
        document = {
            "input": {"path": "image.tif", "axes": axes, "voxel_size_um": dict(zip("zyx", case.voxel, strict=True))},
            "output": {"path": "out.zarr"},
            "psf": case.section(case.wrong),
            "tiling": {"dimensions": case.image.ndim},
        }
        if case.image.ndim == 2:
            del document["input"]["voxel_size_um"]["z"]  # type: ignore[index]
        path = Path(folder, "run.yaml")
        path.write_text(yaml.safe_dump(document))
        return fit_psf(path, [], [case.free], {}, 0, lambda _: None)


def decibel(case: Case, value: Any) -> float:
    """Return the scale-invariant PSNR of the Wiener filter on the middle of an image, with one value."""
    middle = tuple(slice((n - min(n, SIDE)) // 2, (n + min(n, SIDE)) // 2) for n in case.image.shape)
    psf = ssi.psf.measured(
        kernel(case.section(value), case.voxel, 2)[0].astype(np.float32), center="middle", background=0
    )
    found = ssi.deconvolve(
        case.image[middle], psf, axes="yx", dimensions=2, solver="wiener", classical={"weight": "likelihood"}
    )
    inner = (slice(EDGE, -EDGE),) * 2
    x, y = found[inner].astype(float).ravel(), case.truth[middle][inner].astype(float).ravel()
    error = np.square(np.polyval(np.polyfit(x, y, 1), x) - y).mean()
    return float(10 * np.log10((np.percentile(y, 99.8) - y.min()) ** 2 / error))


def make_row(case: Case) -> Row:
    """Fit, and restore with the wrong, the fitted and the true PSF."""
    known = {"name": case.name, "option": case.option, "given": _scalar(case.wrong), "truth": case.value}
    try:
        found = fitted(case)
    except InputError as error:
        return {**known, "told": False, "best": math.nan, "interval": [-math.inf, math.inf], "reason": str(error)}
    (verdict,) = found.verdicts
    told = found.told
    row: Row = {
        **known,
        "told": told,
        "best": verdict.best,
        "interval": [verdict.low, verdict.high],
        "reason": found.doubt or verdict.reason,
    }
    if case.option == "defocus_um":
        values = (case.wrong, verdict.best if told else case.wrong, case.value)
        row["decibel"] = [decibel(case, value) for value in values]
    return row


def is_wrong(row: Row) -> bool:
    """Return whether a value is told that is more than 10 % off, or whose interval excludes the truth."""
    low, high = row["interval"]
    off = abs(row["best"] - row["truth"]) > 0.1 * abs(row["truth"])
    return bool(row["told"] and (off or not low <= row["truth"] <= high))


def sheet(rows: Sequence[Row]) -> Sheet:
    """Return the table."""
    lines = []
    for row in rows:
        low, high = row["interval"]
        answer = f"{row['best']:.3g} ({low:.3g} to {high:.3g})"
        if not math.isfinite(low):
            answer = "refused"
        elif not row["told"]:
            answer = f"cannot tell ({low:.3g} to {high:.3g})"
        decibels = " / ".join(f"{value:.2f}" for value in row.get("decibel", ()))
        lines.append([row["name"], row["option"], f"{row['given']:g}", f"{row['truth']:g}", answer, decibels])
    told, wrong = sum(row["told"] for row in rows), sum(map(is_wrong, rows))
    outside = sum(not row["interval"][0] <= row["truth"] <= row["interval"][1] for row in rows if not row["told"])
    title = f"{len(rows)} fits: {told} told, {wrong} of them wrong; of the rest {outside} with the truth outside"
    return Sheet(
        title, ["image", "option", "configured", "true", "found", "dB wrong / fitted / true"], lines, frozenset()
    )


def cases(options: Any) -> Iterator[Case]:
    """Yield what was asked for, one at a time."""
    if options.images is not None or options.only is not None:
        for name, picture in pictures(options):
            yield published(name, picture)
        return
    for seed in map(int, options.seeds.split(",")):
        for level in options.levels.split(","):
            yield from planes(seed, level)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    asked = parser(__doc__)
    asked.add_argument("--seeds", default="0,1,2", help="of own scenes, separated by commas")
    asked.add_argument("--levels", default="dim,bright", help="of light, separated by commas")
    options = asked.parse_args(arguments)
    with begin("psf_fit", options, {"seeds": "0", "levels": "bright"}) as study:
        rows = []
        for case in cases(options):
            setup = {"psf": case.psf, "wrong": case.wrong, "shape": case.image.shape}
            key = f"{case.name}.{case.option}".replace(", ", ".").replace(" ", "")
            row = study.row(key, setup, lambda case=case: make_row(case))  # type: ignore[misc]
            say(f"{row['name']}: {row['best']:.4g} {row['interval']} {row.get('decibel')} {row['reason']}")
            rows.append(row)
        study.finish("PSFs from the data", [sheet(rows)])


if __name__ == "__main__":
    main()
