"""The window of ``ssi view``: napari with the layers of a run, which follows a run in progress."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import MissingPackageError, OutputError, how_to_install
from ssi_pipeline.report.facts import RunFacts, read_facts
from ssi_pipeline.tasks.opening import open_context
from ssi_pipeline.view.images import LayerData, OutputImage
from ssi_pipeline.view.opened import Opened, open_run, run_maps

if TYPE_CHECKING:
    from napari.components import ViewerModel

_EVERY_S = 5.0
"""Seconds between looks at a run in progress; at least ten times what a look takes."""

_ROOM = 3
"""Room of the contrast slider above the window, in widths of it: the brightest voxels are beyond the window."""


def require_napari() -> Any:
    """Import napari, and check that it can open a window.

    Raises
    ------
    MissingPackageError
        napari, or its Qt, is not installed.
    OutputError
        There is no display.
    """
    try:
        import napari
    except ImportError as error:
        install = how_to_install("napari PySide6-Essentials", "view")
        raise MissingPackageError(f"ssi view needs napari ({error}): {install}") from None
    try:
        import qtpy
    except Exception as error:  # qtpy has errors of its own for no binding, and for a binding that cannot be loaded
        raise MissingPackageError(
            f"napari has no Qt that works here ({error}): pip install PySide6-Essentials"
        ) from None
    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))):
        raise OutputError(
            f"there is no display for the window of napari ({qtpy.API_NAME}): use --neuroglancer and a browser, "
            "`ssi report`, or run this where you sit"
        )
    return napari


def show(run: RunConfig | Path, maps: tuple[str, ...], in_3d: bool = False) -> None:
    """Open the window of a run and return when it is closed.

    Raises
    ------
    SsiError
        There is no run, or no window can be opened.
    """
    napari = require_napari()
    from napari.utils.notifications import show_warning

    opened = open_run(run, maps)
    viewer = napari.Viewer(title=f"{opened.path.name} - ssi")
    fill(viewer, opened, in_3d)
    for note in opened.notes:
        show_warning(note)
    follower = Follower(viewer, run, maps) if opened.running and not isinstance(run, Path) else None
    napari.run()
    if follower is not None:
        follower.stop()


def fill(viewer: ViewerModel, opened: Opened, in_3d: bool = False) -> None:
    """Add the layers, and show the middle of the volume with its axes and a scale bar."""
    for data in opened.layers:
        _add(viewer, data)
    axes = opened.layers[0][1]["axis_labels"]
    viewer.dims.axis_labels = axes
    for axis, position in opened.middle.items():
        viewer.dims.set_point(axes.index(axis), position)
    if in_3d and viewer.dims.ndim > 2:
        viewer.dims.ndisplay = 3
        for layer in viewer.layers:
            layer.visible = layer.visible and not layer.name.startswith("input")  # volumes hide each other
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.reset_view()
    outputs = [layer for layer in viewer.layers if layer.name.startswith("output")]
    if outputs:
        viewer.layers.selection = {outputs[0]}


def refresh(viewer: ViewerModel, layers: list[LayerData], known: set[str]) -> None:
    """Show the tiles as they are now, and read the images again; layers that the user removed stay away.

    ``layers``: of the tiles and blocks. ``known``: names of all that were ever shown; new ones are added to it.
    """
    for new in layers:
        data, options, kind = new
        name = options["name"]
        if name not in known:
            _add(viewer, new)
            known.add(name)
        elif name in viewer.layers:
            layer = viewer.layers[name]
            layer.data = data
            if kind == "labels":
                layer.features, layer.colormap = options["features"], options["colormap"]
            elif not layer.visible:  # the contrast of one that is looked at is the user's
                layer.contrast_limits = options["contrast_limits"]
    left = {options["name"] for _, options, _ in layers}
    for layer in list(viewer.layers):
        if layer.name.startswith("not written yet") and layer.name not in left:
            viewer.layers.remove(layer)
        elif layer.name.startswith(("output", "uncertainty")):
            layer.refresh()


def _add(viewer: ViewerModel, layer: LayerData) -> Any:
    data, options, kind = layer
    if kind == "labels":
        return viewer.add_labels(data, **options)
    added = viewer.add_image(data, **options)
    low, high = options["contrast_limits"]
    added.contrast_limits_range = (min(low, 0.0), high + _ROOM * (high - low))  # else the slider goes no further
    return added


class Follower:
    """Looks at a run in progress every few seconds, beside the window, until it ends or the window is closed."""

    def __init__(self, viewer: ViewerModel, config: RunConfig, maps: tuple[str, ...]) -> None:
        from qtpy.QtCore import QTimer

        self._viewer, self._maps, self._config = viewer, maps, config
        self._known = {layer.name for layer in viewer.layers}
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)
        self._timer.start(int(1000 * _EVERY_S))

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()

    def _look(self) -> None:
        from napari.qt.threading import create_worker

        create_worker(self._read, _connect={"returned": self._take})

    def _read(self) -> tuple[RunFacts, float]:
        started = time.perf_counter()
        facts = read_facts(open_context(self._config), "")
        return facts, time.perf_counter() - started

    def _take(self, found: tuple[RunFacts, float]) -> None:
        facts, seconds = found
        path = facts.context.document.config.output.path
        refresh(self._viewer, run_maps(facts, OutputImage(path), self._maps), self._known)
        if facts.running:
            self._timer.start(int(1000 * max(_EVERY_S, 10 * seconds)))
