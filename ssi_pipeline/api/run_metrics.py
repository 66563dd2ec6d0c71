"""Metrics of a run's tiles by name, and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.api.display import rows_html, solved_by
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.results.export import known_metrics, tile_columns
from ssi_pipeline.results.finish import CODES, METRICS
from ssi_pipeline.results.quality_group import metric_attributes
from ssi_pipeline.tasks import Context

_SHOWN = ("heldout_before", "heldout_after", "heldout_wiener", "steps", "chi2", "whiteness", "flux_ratio", "seconds")
"""Metrics that are shown in a notebook."""


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

    def _repr_html_(self) -> str:
        plan, shown = self._context.plan, [name for name in _SHOWN if np.isfinite(self[name]).any()]
        grid = ", ".join(f"{axis} {n}" for axis, n in zip(AXES, plan.tile_grid, strict=True) if n > 1)
        rows = [("tiles", f"{plan.n_tiles}{f' = {grid}' if grid else ''}"), ("solved by", solved_by(self))]
        rows += [(name, _spread(self[name])) for name in shown]
        return rows_html([*rows, ("all metrics", ", ".join(self))])

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


def _spread(values: NDArray[np.float32]) -> str:
    known = values[np.isfinite(values)]
    median = f"{np.median(known):.4g}"
    return median if known.min() == known.max() else f"{median} (median; {known.min():.4g} to {known.max():.4g})"
