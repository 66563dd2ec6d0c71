"""Reader of napari: a configuration, an output or a state folder of a run, dropped on the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ssi_pipeline.view.images import LayerData

Paths = str | Sequence[str]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader of a path, None where it is no run of ours."""
    from ssi_pipeline.view.opened import is_run

    return read if isinstance(path, str) and is_run(Path(path)) else None


def read(path: Paths) -> list[LayerData]:
    """Return the layers of a run as it is now, from the bottom up."""
    from ssi_pipeline.view.opened import config_of, open_run

    assert isinstance(path, str)
    return open_run(config_of(Path(path))).layers
