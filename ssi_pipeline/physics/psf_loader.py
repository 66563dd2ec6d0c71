"""Load the point spread function of a section of the configuration: none, one, or several that vary over the image."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ssi_pipeline.config import IdentityPsf, PsfConfig, VaryingPsf
from ssi_pipeline.geometry.boxes import Ints
from ssi_pipeline.physics.psf import Psf, VoxelSize
from ssi_pipeline.physics.psf_by_depth import by_depth, depth_of
from ssi_pipeline.physics.psf_by_place import by_place
from ssi_pipeline.physics.psf_whole import finished, load_whole


def load_psf(
    section: PsfConfig,
    voxel_size_um: VoxelSize | None,
    dimensions: int,
    image_shape: Ints | None = None,
    array: NDArray[Any] | None = None,
) -> Psf | None:
    """Return the PSF of a section of the configuration, or None for no blur.

    Parameters
    ----------
    section
        One entry of ``psf``.
    voxel_size_um
        Voxel size of the image (z y x) in micrometres, or None if unknown.
    dimensions
        Number of spatial axes of a tile; a PSF for 2 has length 1 along z.
    image_shape
        Size of the image (z y x), None if unknown.
    array
        Values of a PSF of kind ``file`` that is in memory.

    Raises
    ------
    InputError
        The file is missing or not a PSF, its voxel size differs from the image's by more than 1 %, the section needs a
        voxel size that is unknown, the PSF cannot be meant, or its parts do not cover the image.
    """
    if isinstance(section, IdentityPsf):
        return None
    if isinstance(section, VaryingPsf):
        return by_place(section, voxel_size_um, dimensions, image_shape)
    depth = depth_of(section)
    if depth is not None:
        return by_depth(*depth, voxel_size_um, dimensions, image_shape)
    return finished(section, load_whole(section, voxel_size_um, dimensions, image_shape, array), image_shape)
