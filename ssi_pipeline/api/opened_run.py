"""A run on disk, in any state, as an object."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ssi_pipeline.api.arguments import nested
from ssi_pipeline.api.display import beside, rows_html
from ssi_pipeline.api.picture import Plane, middle_plane, picture_html
from ssi_pipeline.api.run_metrics import RunMetrics
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError, SsiError
from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.results.status import RunStatus, describe_status, read_status
from ssi_pipeline.storage.outputs.output import UNCERTAINTY
from ssi_pipeline.storage.state.found_run import load_run
from ssi_pipeline.storage.store import open_array
from ssi_pipeline.tasks.opening import open_context

_FEWEST_COLUMNS = 128
"""Width of the pyramid level that the picture of a run is made of."""

_MOST_PIXELS = 2**24
"""Pixels that are read for a picture: more only where an output has no pyramid."""


class Run:
    """A run, active or not: its configuration, status, metrics and images as they are on disk now."""

    def __init__(self, config: RunConfig) -> None:
        self._context = open_context(config)
        self._file = config.file

    @property
    def config(self) -> RunConfig:
        """The configuration that it was started with."""
        return self._context.document.config

    @property
    def tiles(self) -> TilePlan:
        """Its tiles and blocks."""
        return self._context.plan

    @property
    def complete(self) -> bool:
        """Whether the output is finished."""
        status = self.status()
        return status.image_complete and status.finished

    def status(self) -> RunStatus:
        """Return how many tiles are done, running, failed and pending, and why tiles failed."""
        return read_status(self.config)

    def metrics(self) -> RunMetrics:
        """Return the metrics of all tiles.

        Raises
        ------
        InputError
            No tile was solved yet.
        """
        return RunMetrics(self._context)

    def image(self, level: int = 0) -> Any:
        """Return the estimate as a lazy dask array; ``level``: of the pyramid, 0 for the full resolution.

        Raises
        ------
        InputError
            There is no such level.
        """
        levels = self._context.pyramid.n_levels
        if not 0 <= level < levels:
            raise InputError(f"level is {level}: expected 0 to {levels - 1}")
        return _lazy(self.config.output.path / str(level))

    def uncertainty(self) -> Any:
        """Return the map of the uncertainty as a lazy dask array.

        Raises
        ------
        InputError
            The run has none.
        """
        if not self._context.uncertain:
            raise InputError("the run has no map of the uncertainty: set output.uncertainty, for instance to 8")
        return _lazy(self.config.output.path / UNCERTAINTY / "0")

    def report(self, output: str | PathLike[str] | None = None, figures: str | PathLike[str] | None = None) -> Path:
        """Write the HTML report and return its path; ``figures``: folder for the figures as PNG and SVG."""
        from ssi_pipeline.report import write_report  # imports matplotlib

        return write_report(self.config, _path(output), _path(figures), named(self._file))

    def __repr__(self) -> str:
        status = self.status()
        return f"<run {self.config.output.path}: {status.tiles_done} of {status.tiles} tiles done>"

    def _repr_html_(self) -> str:
        status = self.status()
        rows = [("output", str(self.config.output.path)), ("solver", self.config.solver)]
        rows += describe_status(status, named(self._file))
        if not status.image_complete or status.lost:
            return rows_html(rows)
        try:
            plane = self._plane()
        except (SsiError, OSError, ValueError, RuntimeError) as error:  # zarr raises the last two of damaged chunks
            return rows_html([*rows, ("picture", f"not shown, as the output cannot be read: {error}")])
        return rows_html(rows) if plane is None else beside(rows_html(rows), picture_html(plane, "output"))

    def _plane(self) -> Plane | None:
        """Return a plane of the smallest level that is wide enough; None where it has too many pixels to be read."""
        shapes = self._context.pyramid.shapes
        level = max((i for i, (*_, x) in enumerate(shapes) if x >= _FEWEST_COLUMNS), default=0)
        if shapes[level][1] * shapes[level][2] > _MOST_PIXELS:
            return None
        axes = self._context.document.volume.axes
        plane = middle_plane(open_array(self.config.output.path / str(level)), axes)
        assert plane is not None
        return plane if level == 0 else Plane(plane.pixels, ", ".join(filter(None, (plane.place, f"level {level}"))))


def named(file: Path | None) -> str:
    """Return a configuration as it stands in a command: its file, quoted for a shell."""
    return "CONFIG" if file is None else shlex.quote(str(file))


def open_run(run: RunConfig | Mapping[str, Any] | str | PathLike[str]) -> Run:
    """Open a run by its configuration (a file, a dictionary), its output or its state folder.

    Raises
    ------
    InputError
        There is no run.
    """
    if isinstance(run, RunConfig):
        return Run(run)
    if isinstance(run, Mapping):
        return Run(parse_config(nested(run)))
    return Run(load_run(Path(run).absolute()))


def _lazy(place: Place) -> Any:
    import dask.array

    return dask.array.from_zarr(open_array(place))


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)
