"""Deconvolve an array: numpy, torch, dask or xarray in, the same out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.api.arguments import AXES, axes_of, make_config
from ssi_pipeline.api.coordinates import voxel_size_of
from ssi_pipeline.api.display import beside, rows_html, solved_by
from ssi_pipeline.api.in_memory import open_array, solve_array
from ssi_pipeline.api.picture import middle_plane, picture_html
from ssi_pipeline.api.progress import ProgressArgument, Stages, listening
from ssi_pipeline.api.psfs import PsfArgument
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.psf import Lengths
from ssi_pipeline.storage.inputs.array_source import ArraySource
from ssi_pipeline.tasks.array_context import ArrayContext, Channel

Image = TypeVar("Image")


class _Parts(NamedTuple):
    image: Any
    uncertainty: Any = None
    metrics: Any = None


class Result(_Parts):
    """An estimate with what was asked for beside it.

    Attributes
    ----------
    image
        The estimate, as the image that was given.
    uncertainty
        Typical error of each pixel, float32, as ``image``; None where not asked for.
    metrics
        A field for each metric on the grid of tiles (t c z y x), as ``quality/`` of a run; None where not asked for.
    axes
        A letter for each dimension of ``image``; empty: the last ones of ``tczyx``.
    """

    axes = ""

    def _repr_html_(self) -> str:
        parts = {name: value for name, value in self._asdict().items() if value is not None}
        rows = [(name, f"{tuple(value.shape)} {value.dtype}") for name, value in parts.items() if name != "metrics"]
        if isinstance(self.metrics, np.ndarray):
            rows += [("tiles", str(self.metrics.size)), ("solved by", solved_by(self.metrics))]
        plane = middle_plane(self.image, self.axes)
        return rows_html(rows) if plane is None else beside(rows_html(rows), picture_html(plane, "estimate"))


@overload
def deconvolve(
    image: Image,
    psf: PsfArgument,
    *,
    axes: str | None = None,
    voxel_size_um: Lengths | None = None,
    solver: str = "ssi",
    dimensions: Literal[2, 3] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    uncertainty: Literal[0] = 0,
    metrics: Literal[False] = False,
    seed: int = 0,
    progress: ProgressArgument = None,
    **options: Any,
) -> Image: ...
@overload
def deconvolve(
    image: Any,
    psf: PsfArgument,
    *,
    axes: str | None = None,
    voxel_size_um: Lengths | None = None,
    solver: str = "ssi",
    dimensions: Literal[2, 3] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    uncertainty: int = 0,
    metrics: bool = False,
    seed: int = 0,
    progress: ProgressArgument = None,
    **options: Any,
) -> Result: ...
def deconvolve(
    image: Any,
    psf: PsfArgument,
    *,
    axes: str | None = None,
    voxel_size_um: Lengths | None = None,
    solver: str = "ssi",
    dimensions: Literal[2, 3] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    uncertainty: int = 0,
    metrics: bool = False,
    seed: int = 0,
    progress: ProgressArgument = None,
    **options: Any,
) -> Any:
    """Deconvolve an image; the same bytes as ``ssi run`` writes with these options.

    Parameters
    ----------
    image
        numpy, torch, dask or xarray, integers or floats, 2 to 5 dimensions. Of a dask array the result is lazy: tiles
        are tasks, on whichever client is current. Everything else is solved here, one tile after the other.
    psf
        An array (z) y x, the path of a TIFF or npy file, a full width at half maximum (one number, or several z y x;
        micrometres where ``voxel_size_um`` is given, else pixels), ``ssi.psf.widefield(...)`` and the like, or a list
        of these with one for each channel.
    axes
        A letter for each dimension; by default the last ones of ``tczyx``, or the names of an xarray's.
    voxel_size_um
        Of the image: one number, z y x, or by axis.
    solver
        ``ssi`` (the network), ``tv_cg``, ``tv``, ``richardson_lucy``, ``wiener``, ``ssi_published`` or ``identity``.
    dimensions
        Spatial axes of a tile; by default 3 where the PSF and the image extend along z, else 2.
    device
        ``auto``: a GPU if torch sees one.
    uncertainty
        Number of predictions for the map of the uncertainty; 0: no map.
    metrics
        Also return the metrics of each tile.
    seed
        Seed of all random numbers.
    progress
        None: shown on a terminal and in a notebook while it computes; True: elsewhere too, as lines; False: not shown;
        or a function, called with stage, done, total, rate and time left as these change. Of a dask array nothing is
        shown: it is computed later.
    options
        Further options of a run configuration, by section or by dotted name. ``output={"dtype": "float32"}``: not
        rounded to the dtype of the image.

    Returns
    -------
    The estimate, of the type and with the axes of ``image``; with ``uncertainty`` or ``metrics`` a ``Result``.

    Raises
    ------
    ConfigError, InputError, GeometryError
        An option, the image or the PSF is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> import ssi_pipeline as ssi
    >>> image = np.random.default_rng(0).poisson(100, (64, 64)).astype("uint16")
    >>> ssi.deconvolve(image, 2.0, solver="wiener").shape
    (64, 64)
    """
    named = {
        "solver": solver,
        "tiling.dimensions": dimensions,
        "executor.device": device,
        "output.uncertainty": uncertainty,
        "seed": seed,
    }
    found = solved(*opened(image, psf, axes, voxel_size_um, named, options), metrics, progress)
    return found if uncertainty or metrics else found.image


def solved(
    pixels: Any, context: ArrayContext, wrap: Callable[[Any], Any], metrics: bool, progress: ProgressArgument
) -> Result:
    """Deconvolve what ``opened`` returned; ``metrics``: keep those of the tiles."""
    source = context.image
    assert isinstance(source, ArraySource)
    names = source.axes.names
    with listening(progress) as listener:
        if isinstance(pixels, np.ndarray):
            whole, table = solve_array(context, Stages(listener))
            layers: list[Any] = [arranged(values, names, pixels.shape) for values in whole]
        else:
            from ssi_pipeline.api.graph import lazy_layers

            layers, table = lazy_layers(pixels, context, source)
    estimate, *other = (wrap(values) for values in layers)
    result = Result(estimate, other[0] if other else None, table if metrics else None)
    result.axes = names
    return result


def arranged(values: NDArray[Any], names: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array t c z y x with the axes ``names`` of an image, and its shape."""
    order = [AXES.index(axis) for axis in (*names, *(axis for axis in AXES if axis not in names))]
    return values.transpose(order).reshape(shape)


def opened(
    image: Any,
    psf: PsfArgument,
    axes: str | None,
    voxel_size_um: Lengths | None,
    named: Mapping[str, Any],
    options: Mapping[str, Any],
    channels: Sequence[Channel] = (),
) -> tuple[Any, ArrayContext, Callable[[Any], Any]]:
    """Return the pixels (numpy or dask), their run, and what turns a result into the image's kind."""
    pixels, names, wrap = _unwrapped(image, axes)
    checked = axes_of(pixels, names)
    if voxel_size_um is None and hasattr(image, "coords"):
        voxel_size_um = voxel_size_of(image, checked)
    config, source, given = make_config(pixels, checked, psf, voxel_size_um, named, options)
    return pixels, open_array(config, source, given, channels), wrap


def _unwrapped(image: Any, axes: str | None) -> tuple[Any, str | None, Callable[[Any], Any]]:
    """Return a numpy or dask array, its axes as far as known, and what turns a result into the image's kind."""
    xarray, torch, dask = (sys.modules.get(name) for name in ("xarray", "torch", "dask.array"))
    if xarray is not None and isinstance(image, xarray.DataArray):
        pixels, _, _ = _unwrapped(image.data, axes)
        return pixels, axes or _named(image.dims), lambda values: image.copy(data=values)
    if torch is not None and isinstance(image, torch.Tensor):
        here = image.detach().cpu()
        return here.numpy(), axes, lambda values: torch.from_numpy(np.ascontiguousarray(values)).to(image.device)
    if dask is not None and isinstance(image, dask.Array):
        return image, axes, lambda values: values
    return np.asarray(image), axes, lambda values: values


def _named(dims: tuple[Any, ...]) -> str:
    """Return the axes of the dimensions of an xarray.

    Raises
    ------
    ConfigError
        They are not named t, c, z, y, x.
    """
    names = [str(name).lower() for name in dims]
    if not all(name in AXES and len(name) == 1 for name in names):
        raise ConfigError(
            f"the image has the dimensions {', '.join(map(str, dims))}: expected t, c, z, y and x, or axes with a "
            "letter for each, for instance axes='zyx'"
        )
    return "".join(names)
