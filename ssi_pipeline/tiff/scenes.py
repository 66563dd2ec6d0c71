"""Which image of a TIFF with several is read, as scenes of a file of a microscope; numbered as tifffile's series."""

from __future__ import annotations

from collections.abc import Sequence

import tifffile

from ssi_pipeline.errors import InputError
from ssi_pipeline.tiff.left_out import describe_series
from ssi_pipeline.tiff.ome_images import ome_images

_MOST = 20


def choose(series: Sequence[tifffile.TiffPageSeries], scene: int | None, where: str) -> tifffile.TiffPageSeries:
    """Return the chosen image, or the first.

    Raises
    ------
    InputError
        The chosen one is not there.
    """
    if (scene or 0) >= len(series):
        raise InputError(f"{where} has no scene {scene}: set input.scene to one of {_listed(series)}")
    return series[scene or 0]


def refuse_several(series: Sequence[tifffile.TiffPageSeries], where: str) -> None:
    """Refuse a file in which the first image is not the largest one alone.

    Raises
    ------
    InputError
        Another has as many pixels; lists them.
    """
    full = sum(one.size >= series[0].size for one in series)
    if full > 1:
        raise InputError(
            f"{where} contains {full} images of full size: set input.scene (or --scene) to one of {_listed(series)}; "
            'or input.images: "*" to read all of them in one run'
        )


def refuse_unnumbered(tif: tifffile.TiffFile, where: str) -> None:
    """Refuse an OME-TIFF whose images cannot be told apart: the metadata of one would be taken for those of another.

    Raises
    ------
    InputError
        tifffile finds pixels of more or fewer images than the OME-XML describes.
    """
    if not tif.is_ome or not (described := len(ome_images(tif.ome_metadata or ""))):
        return
    if described != len(tif.series):
        raise InputError(
            f"{where}: its OME-XML describes {described} images with pixels, and {len(tif.series)} can be read: save "
            "it again as OME-TIFF, or convert it to OME-Zarr (bioformats2raw)"
        )


def describe_scene(series: tifffile.TiffPageSeries) -> str:
    """Return name, shape, axes and dtype of an image."""
    return f"{series.name} ({describe_series(series)})" if series.name else describe_series(series)


def _listed(series: Sequence[tifffile.TiffPageSeries]) -> str:
    shown = "; ".join(f"{i}: {describe_scene(one)}" for i, one in enumerate(series[:_MOST]))
    return shown + (f"; and {len(series) - _MOST} more" if len(series) > _MOST else "")
