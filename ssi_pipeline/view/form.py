"""What the widget of napari asks for, as values, and the call of the Python API that they mean."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.geometry.volume import SPATIAL

GAUSSIAN, WIDEFIELD, FILE = "Gaussian", "widefield", "file"
"""Kinds of PSF."""

_MOST_GIB = 4.0
"""Largest image that the widget holds in memory: its estimate and tiles come on top."""

_GUESS = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}
"""Axes by number; napari shows channels as layers, so four are no channels."""


@dataclass(frozen=True)
class Form:
    """Entries of the form.

    Attributes
    ----------
    axes
        A letter for each axis of the layer, of t c z y x.
    pixel_um
        Pixel size in micrometres by axis (z y x); empty where unknown, and lengths of the PSF are then in pixels.
    psf
        ``GAUSSIAN``, ``WIDEFIELD`` or ``FILE``.
    fwhm, fwhm_z
        Full widths at half maximum in y and x, and in z; 0 in z: each plane on its own.
    numerical_aperture, wavelength_um, refractive_index
        Of a widefield microscope.
    file
        Path of a measured PSF, TIFF or npy.
    solver
        As in a configuration.
    """

    axes: str
    solver: str
    psf: str = GAUSSIAN
    pixel_um: Mapping[str, float] = field(default_factory=dict)
    fwhm: float = 2.5
    fwhm_z: float = 0.0
    numerical_aperture: float = 1.4
    wavelength_um: float = 0.52
    refractive_index: float = 1.515
    file: str = ""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``ssi.deconvolve`` beside the image.

        Raises
        ------
        ConfigError
            Something is missing.
        """
        sizes = {axis: float(self.pixel_um[axis]) for axis in SPATIAL if axis in self.pixel_um and axis in self.axes}
        if sizes and not {"y", "x"} <= sizes.keys():
            raise ConfigError(
                f"the pixel size is known along {', '.join(sizes)} alone: give it along y and x too, or 0"
            )
        return {
            "psf": self._psf(bool(sizes)),
            "axes": self.axes,
            "voxel_size_um": sizes or None,
            "solver": self.solver,
        }

    def _psf(self, sizes_known: bool) -> Any:
        if self.psf == FILE:
            if not self.file:
                raise ConfigError("no PSF: choose its file, TIFF or npy, or another kind of PSF")
            return self.file
        if self.psf == GAUSSIAN:
            deep = self.fwhm_z > 0 and "z" in self.axes
            return (self.fwhm_z, self.fwhm, self.fwhm) if deep else self.fwhm
        if not sizes_known:
            raise ConfigError("the pixel size is not known: a widefield PSF needs it, in micrometres")
        from ssi_pipeline.psf import widefield

        return widefield(self.numerical_aperture, self.wavelength_um, refractive_index=self.refractive_index)

    def code(self, name: str = "image") -> str:
        """Return the call in Python that does the same."""
        arguments = self.arguments()
        psf = arguments.pop("psf")
        if self.psf == WIDEFIELD:
            optics = f"{self.numerical_aperture:g}, {self.wavelength_um:g}, refractive_index={self.refractive_index:g}"
            psf = f"ssi.psf.widefield({optics})"
        else:
            psf = repr(psf)
        others = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if value is not None)
        return f"ssi.deconvolve({name}, {psf}, {others})"


def guessed_axes(labels: tuple[str, ...]) -> str:
    """Return the axes of a layer by its labels, or by their number."""
    named = "".join(labels).lower()
    good = len(named) == len(labels) == len(set(named)) and {"y", "x"} <= set(named) <= set("tczyx")
    return named if good else _GUESS.get(len(labels), "tczyx")


def pixels_of(data: Any, multiscale: bool, rgb: bool) -> NDArray[Any]:
    """Return the pixels of a layer, of the full resolution, read where they are lazy.

    Raises
    ------
    InputError
        They are colours, or too many for this computer's memory.
    """
    if rgb:
        raise InputError("the layer has colours: split its channels first (right click, Split RGB)")
    full = data[0] if multiscale else data
    gib = float(np.prod(full.shape, dtype=float)) * np.dtype(full.dtype).itemsize / 2**30
    if gib > _MOST_GIB:
        raise InputError(
            f"the layer has {gib:.1f} GiB, more than {_MOST_GIB:g} that this widget takes into memory: deconvolve its "
            "file with `ssi init` and `ssi run`, then open the run here"
        )
    return np.asarray(full)


def whole(pixels: NDArray[Any], form: Form) -> Generator[tuple[int, int], None, NDArray[Any]]:
    """Deconvolve an image; yields the number of tiles solved, and of all, after each."""
    from ssi_pipeline.api.stepwise import deconvolving  # imports torch

    return deconvolving(pixels, **form.arguments())


def one_tile(pixels: NDArray[Any], form: Form, place: Mapping[str, float]) -> Any:
    """Deconvolve the tile around a place; returns a ``SolvedPart``."""
    from ssi_pipeline.api.stepwise import deconvolve_tile  # imports torch

    return deconvolve_tile(pixels, place=place, **form.arguments())
