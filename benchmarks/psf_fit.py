"""`ssi psf fit` on images whose PSF is known: is the true value found, or is it said that the data cannot tell?

    python benchmarks/psf_fit.py --output build/psf-fit                       # own scenes, seeds 0-2
    python benchmarks/psf_fit.py --images FOLDER --only neurons --crop 384    # pictures, blurred by rings
    python benchmarks/psf_fit.py --images FOLDER --protocol                   # as published: noise 0.1 of the range
    python benchmarks/psf_fit.py --short

Each configuration has a wrong value. A row has the value found with its interval, or "cannot tell"; with --decibel, for
the defocus, also the scale-invariant PSNR of the Wiener filter with the wrong, the fitted and the true PSF. A wrong
answer is a value that is told and more than 10 % off, or whose interval excludes the truth. --known-noise takes the
noise as it was made in place of a calibration, which is several times faster; not with --protocol.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from _common import Row, begin, parser, pictures, say
from _real_cases import DARK, GAIN, READ, Floats, camera, digitised, inside, light
from scipy.signal import fftconvolve

import ssi_pipeline as ssi
from ssi_pipeline.benchmark.protocol import PIXEL_UM, benchmark_psf, degrade
from ssi_pipeline.benchmark.tables import Sheet
from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.physics.psf_whole import cropped, load_whole
from ssi_pipeline.workbench.fit.data import by_contrast
from ssi_pipeline.workbench.fit.fit import PsfFit, fit_psf
from ssi_pipeline.workbench.fit.parameters import Pupil, parameter_of
from ssi_pipeline.workbench.fit.search import search
from ssi_pipeline.workbench.fit.spectrum import SIDE as FIT_SIDE
from ssi_pipeline.workbench.fit.spectrum import Rings, boxes_of
from ssi_pipeline.workbench.fit.verdict import Verdict, profile_of, verdict_of

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

SIDE, PIXEL = 256, 0.2
PEAK = {"dim": 90.0, "bright": 600.0}
BACKGROUND = 0.05
"""Light where a picture is black, as a share of white."""

EDGE = 16
"""Pixels at the border that do not count for the PSNR."""


@dataclass(frozen=True)
class Case:
    """A plane, y x, its true PSF, the option with a wrong value, and other wrong values, which are not fitted."""

    name: str
    image: np.ndarray
    truth: Floats
    pixel_um: float
    psf: dict[str, Any]
    free: str
    option: str
    wrong: float
    other: tuple[tuple[str, float], ...] = ()

    @property
    def value(self) -> float:
        """The true value."""
        return float(self.psf[self.option])

    def section(self, value: float) -> dict[str, Any]:
        """Return the configured section of the PSF with a value."""
        return {**self.psf, **dict(self.other), self.option: value}


def kernel(section: dict[str, Any], pixel_um: float) -> Floats:
    """Return nearly all of a PSF, y x."""
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {**section, "energy": 0.9995}}
    found = load_psf(parse_config(document).psf[0], (1.0, pixel_um, pixel_um), 2)
    assert found is not None
    return found.values[0].astype(float)


def protocol(name: str, picture: np.ndarray) -> Case:
    """Return a picture by the published protocol."""
    section = {**WATER, "defocus_um": -3.045}
    image = degrade(picture, benchmark_psf())
    return Case(f"{name}, published", image, picture, PIXEL_UM, section, "defocus", "defocus_um", -2.0)


def photographed(name: str, picture: np.ndarray, defocus_um: float, photons: float) -> Case:
    """Return a picture of so many photons at white, out of focus; its border, where light is missing, is cut."""
    section = {**WATER, "defocus_um": -defocus_um}
    psf = kernel(section, PIXEL_UM)
    light_of = photons * (picture + BACKGROUND)
    image = digitised(camera(np.maximum(fftconvolve(light_of, psf, mode="valid"), 0), 0))
    inner = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(picture.shape, image.shape, strict=True))
    wrong = -2.0 if defocus_um > 2 else -1.5  # the same range for all
    title = f"{name}, {photons:g} photons, {defocus_um:g} um"
    return Case(title, image, picture[inner], PIXEL_UM, section, "defocus", "defocus_um", wrong)


def aperture(case: Case) -> Case:
    """Return a case whose wrong value is that of the aperture."""
    return replace(case, free="na", option="numerical_aperture", wrong=0.7)


def misconfigured(case: Case, other: dict[str, float]) -> Case:
    """Return a case with other wrong values too."""
    name = ", ".join([case.name, *(f"{option} {value:g}" for option, value in other.items())])
    return replace(case, name=name, other=tuple(other.items()))


def scene(seed: int, level: str) -> Case:
    """Return a plane of cells, fibres and points, out of focus."""
    section = {**WIDEFIELD, "defocus_um": 2.5}
    sharp = light(seed, PEAK[level], (SIDE, SIDE))
    blurred = fftconvolve(sharp, kernel(section, PIXEL), mode="same")
    image = digitised(inside(camera(np.maximum(blurred, 0), seed)))
    return Case(f"scene {seed}, {level}", image, inside(sharp), PIXEL, section, "defocus", "defocus_um", 1.5)


def fitted(case: Case) -> PsfFit:
    """Fit the wrong configuration of a case."""
    with tempfile.TemporaryDirectory(prefix="ssi-psf-fit-") as folder:
        tifffile.imwrite(Path(folder, "image.tif"), case.image)
        document = {
            "input": {"path": "image.tif", "axes": "yx", "voxel_size_um": {"y": case.pixel_um, "x": case.pixel_um}},
            "output": {"path": "out.zarr"},
            "psf": case.section(case.wrong),
            "tiling": {"dimensions": 2},
        }
        path = Path(folder, "run.yaml")
        path.write_text(yaml.safe_dump(document))
        return fit_psf(path, [], case.free, None, 0, lambda _: None)


def known_noise(case: Case) -> tuple[bool, Verdict, str]:
    """Return whether a value is told, and the verdict with its reason, with the noise as it was made."""
    rings, image = _rings(), case.image.astype(float)
    windows = [image[box] for box in boxes_of((image.shape[0], image.shape[1]), rings.side)]
    noise = [GAIN**2 * (max(float(window.mean()) - DARK, 0) / GAIN + READ**2) + 1 / 12 for window in windows]
    samples = by_contrast(rings, np.array([rings.power(window) for window in windows]), np.array(noise))
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": case.section(case.wrong)}
    section = parse_config(document).psf[0]
    parameter = parameter_of(section, case.free, None, 2)

    def psf(value: float) -> Floats:
        """Return the PSF, y x, of a value."""
        return _psf(json.dumps(case.section(value)), case.pixel_um)

    found = search(rings, samples, parameter, psf, lambda _: None)
    verdict = verdict_of(found, profile_of(found))
    return not verdict.reason, verdict, verdict.reason


@cache
def _rings() -> Rings:
    return Rings(FIT_SIDE)


@cache  # the same for all images
def _psf(section: str, pixel_um: float) -> Floats:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": json.loads(section)}
    tried = parse_config(document).psf[0]
    assert isinstance(tried, Pupil)
    whole, _, _ = load_whole(tried, (1.0, pixel_um, pixel_um), 2, (1, SIDE, SIDE))
    return cropped(whole, tried.energy)[0].astype(float)  # as a fit does, unlike the truth


def calibrated(case: Case) -> tuple[bool, Verdict, str]:
    """Return whether a value is told, and the verdict with its reason, by the command."""
    found = fitted(case)
    return found.told, found.verdict, found.reason


def decibel(case: Case, value: Any) -> float:
    """Return the scale-invariant PSNR of the Wiener filter on the middle of an image, with one value."""
    middle = tuple(slice((n - min(n, SIDE)) // 2, (n + min(n, SIDE)) // 2) for n in case.image.shape)
    psf = ssi.psf.measured(kernel(case.section(value), case.pixel_um).astype(np.float32), center="middle", background=0)
    found = ssi.deconvolve(
        case.image[middle], psf, axes="yx", dimensions=2, solver="wiener", classical={"weight": "likelihood"}
    )
    inner = (slice(EDGE, -EDGE),) * 2
    x, y = found[inner].astype(float).ravel(), case.truth[middle][inner].astype(float).ravel()
    error = np.square(np.polyval(np.polyfit(x, y, 1), x) - y).mean()
    return float(10 * np.log10((np.percentile(y, 99.8) - y.min()) ** 2 / error))


def make_row(case: Case, options: Any) -> Row:
    """Fit, and on request restore with the wrong, the fitted and the true PSF."""
    known = {"name": case.name, "option": case.option, "given": case.wrong, "truth": case.value}
    try:
        told, verdict, reason = (known_noise if options.known_noise else calibrated)(case)
    except InputError as error:
        return {**known, "told": False, "best": math.nan, "interval": [-math.inf, math.inf], "reason": str(error)}
    row: Row = {
        **known,
        "told": told,
        "best": verdict.best,
        "interval": [verdict.low, verdict.high],
        "reason": reason,
    }
    if options.decibel and case.option == "defocus_um":
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
    lines: list[list[str]] = []
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
    if options.images is None and options.only is None:
        for seed in map(int, options.seeds.split(",")):
            for level in options.levels.split(","):
                yield scene(seed, level)
        return
    known = dict(pictures(options))
    if options.protocol:
        yield from (protocol(name, picture) for name, picture in known.items())
        return
    for defocus_um in map(float, options.defoci.split(",")):
        for photons in map(float, options.photons.split(",")):
            for name, picture in known.items():
                case = photographed(name, picture, defocus_um, photons)
                case = case if options.free == "defocus" else aperture(case)
                yield misconfigured(case, json.loads(options.other))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    asked = parser(__doc__)
    asked.add_argument("--seeds", default="0,1,2", help="of own scenes, separated by commas")
    asked.add_argument("--levels", default="dim,bright", help="of light in own scenes, separated by commas")
    asked.add_argument("--defoci", default="2,2.5,3.045,4", help="of pictures, um, separated by commas")
    asked.add_argument("--photons", default="500,2000", help="of pictures, at white, separated by commas")
    asked.add_argument("--free", choices=("defocus", "na"), default="defocus", help="what is wrong, of pictures")
    asked.add_argument("--other", default="{}", help="other values configured wrong, of pictures, as JSON")
    asked.add_argument("--protocol", action="store_true", help="pictures as published")
    asked.add_argument("--known-noise", action="store_true", help="in place of a calibration")
    asked.add_argument("--decibel", action="store_true", help="restore too")
    options = asked.parse_args(arguments)
    with begin("psf_fit", options, {"seeds": "0", "levels": "bright"}) as study:
        rows = []
        for case in cases(options):
            setup = {
                "psf": case.psf,
                "wrong": case.wrong,
                "shape": case.image.shape,
                "known_noise": options.known_noise,
                **dict(case.other),
            }
            key = f"{case.name}.{case.option}".replace(", ", ".").replace(" ", "")
            row = study.row(key, setup, lambda case=case: make_row(case, options))  # type: ignore[misc]
            say(f"{row['name']}: {row['best']:.4g} {row['interval']} {row.get('decibel')} {row['reason']}")
            rows.append(row)
        study.finish("PSFs from the data", [sheet(rows)])


if __name__ == "__main__":
    main()
