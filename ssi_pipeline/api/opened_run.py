"""A run on disk, in any state, as an object."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.api.arguments import nested
from ssi_pipeline.api.display import rows_html
from ssi_pipeline.config import RunConfig, load_config, parse_config
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry import TilePlan
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.results.export import known_metrics, tile_columns
from ssi_pipeline.results.finish import CODES, METRICS
from ssi_pipeline.results.quality_group import metric_attributes
from ssi_pipeline.results.status import RunStatus, describe_status, read_status
from ssi_pipeline.storage.outputs.output import UNCERTAINTY
from ssi_pipeline.storage.state.found_run import config_of_folder
from ssi_pipeline.storage.store import open_array
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import open_context


class RunMetrics(Mapping[str, NDArray[np.float32]]):
    """Metrics of all tiles by name, each on the grid of tiles; NaN where a tile has none.

    Attributes
    ----------
    axes
        Axes of each array.
    start
        First position of the tiles' cores in the image, by axis.
    """

    axes = "tczyx"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._values = known_metrics(context)
        steps = (1, 1, *context.plan.core)
        self.start = {
            axis: np.arange(n) * step for axis, n, step in zip(AXES, context.plan.tile_grid, steps, strict=True)
        }

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<metrics of {self._context.plan.n_tiles} tiles: {', '.join(self)}>"

    def to_pandas(self) -> Any:
        """Return a table with a row for each tile and the columns of ``ssi export``; needs pandas."""
        import pandas

        columns = tile_columns(self._context)
        return pandas.DataFrame(
            {c.name: [c.words[code] for code in c.values] if c.words else c.values for c in columns}
        )

    def to_xarray(self) -> Any:
        """Return a dataset with the positions of the tiles as coordinates; needs xarray.

        Metrics have the attributes of those in ``quality/`` of the output: ``long_name``, ``units``, meanings of codes.
        """
        import xarray

        values = {name: (AXES, array, self._about(name)) for name, array in self.items()}
        return xarray.Dataset(values, coords=dict(self.start))

    def _about(self, name: str) -> dict[str, Any]:
        return metric_attributes(self._context, name, METRICS[name], CODES.get(name, {}))


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
        rows = [("output", str(self.config.output.path)), ("solver", self.config.solver)]
        return rows_html([*rows, *describe_status(self.status(), named(self._file))])


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
    path = Path(run).absolute()
    return Run(config_of_folder(path) if path.is_dir() else load_config(path))


def _lazy(place: Place) -> Any:
    import dask.array

    return dask.array.from_zarr(open_array(place))


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)
