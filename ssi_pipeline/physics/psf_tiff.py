"""Read the values and the voxel size of a TIFF that holds a PSF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.errors import InputError
from ssi_pipeline.physics.lengths import tiff_voxel_um
from ssi_pipeline.tiff.codec import refuse_codec, refuse_undecodable
from ssi_pipeline.tiff.colours import refuse_colours
from ssi_pipeline.tiff.completeness import series_planes
from ssi_pipeline.tiff.left_out import describe_series, extract_command
from ssi_pipeline.tiff.opening import open_tiff

_NOT_SPACE = "CS"


def read_psf_tiff(path: Path, largest: int) -> tuple[NDArray[Any], dict[str, float]]:
    """Return the array (y x or z y x) of a TIFF of one image, and its voxel size in micrometres by axis where stated.

    ``largest``: most bytes of a PSF.

    Raises
    ------
    InputError
        It has colours, channels, several images or pages beside it, or pixels that cannot be decoded here.
    """
    where = f"PSF {path}"
    opened = open_tiff(path, where, scene=0)  # further images are refused below
    with opened.tif as tif:
        series = tif.series[0]
        if any(axis in _NOT_SPACE for axis in series.axes):
            raise InputError(f"{where} has axes {series.axes} {series.shape}; expected one channel, y x or z y x")
        refuse_colours(series.keyframe, where)
        refuse_codec(series.keyframe, where)
        refuse_undecodable(series.keyframe, where)
        if series.nbytes > largest:
            raise InputError(f"{where} has {series.nbytes} bytes {series.shape}; expected a PSF, of less than 4 GiB")
        if len(tif.series) > 1:
            raise InputError(
                f"{where} holds {len(tif.series)} images; expected one. The first ({describe_series(series)}) as a "
                f"file of its own: {extract_command(path, 0)}"
            )
        left_out = opened.directories.pages - series_planes(series)
        if left_out > 0:
            raise InputError(f"{where} has {left_out} more pages than its metadata name; save it anew")
        return series.asarray(), tiff_voxel_um(tif)
