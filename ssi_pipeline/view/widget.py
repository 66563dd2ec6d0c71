"""Widget of napari: deconvolve the selected layer, with a preview of one tile, progress and cancel."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import (
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    create_widget,
)

from ssi_pipeline.errors import SsiError
from ssi_pipeline.view.form import FILE, GAUSSIAN, WIDEFIELD, Form, guessed_axes, one_tile, pixels_of, whole

if TYPE_CHECKING:
    import napari

_SOLVERS = {
    "wiener": "Wiener filter, fastest",
    "richardson_lucy": "Richardson-Lucy",
    "tv_cg": "total variation",
    "ssi": "network, slowest",
}
"""The solvers of the form, in the order of their time."""

_DECIMALS = 4
"""Of lengths in micrometres: a tenth of a nanometre. The usual two would round a pixel of 0.065."""

_FWHM = 2.5
"""Full width at half maximum in pixels, to begin with: of a well sampled image."""

PREVIEW = "preview of a tile"


def _number(name: str, label: str, value: float, tooltip: str, most: float = 10_000.0) -> FloatSpinBox:
    """Return an entry whose steps are a tenth of its value."""
    made = FloatSpinBox(name=name, label=label, min=0, max=most, step=None, tooltip=tooltip)
    made.native.setDecimals(_DECIMALS)
    made.value = value
    return made


@dataclass(frozen=True)
class _Refused:
    """What was wrong, as it is said to the user."""

    text: str


class DeconvolveWidget(Container):  # type: ignore[misc]
    """Form of the widget; the computation runs in a thread, one at a time."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        from napari.layers import Image

        super().__init__(labels=True)
        self._viewer, self._worker = napari_viewer, None
        self._layer = create_widget(annotation=Image, name="layer", label="layer")
        self._axes = LineEdit(name="axes", label="axes", tooltip="a letter for each axis, of t c z y x")
        self._pixel = {
            axis: _number(f"pixel_{axis}", f"pixel {axis} (µm)", 0, "0: unknown, and lengths are in pixels")
            for axis in "zyx"
        }
        self.extend([self._layer, self._axes, *self._pixel.values()])
        self._add_psf()
        self._add_actions()
        self._layer.changed.connect(self._fill_in)
        for entry in self._pixel.values():
            entry.changed.connect(self._name_units)
        self._choose_selected()
        self._fill_in()
        self._show_psf()

    def _add_psf(self) -> None:
        self._kind = ComboBox(name="psf", label="PSF", choices=[GAUSSIAN, WIDEFIELD, FILE])
        self._fwhm = _number("fwhm", "FWHM", _FWHM, "full width at half maximum in y and x")
        self._fwhm_z = _number("fwhm_z", "FWHM in z", 0, "0: each plane on its own")
        self._na = _number("na", "NA", 1.4, "numerical aperture", 2.0)
        self._wavelength = _number("wavelength", "emission (µm)", 0.52, "wavelength", 2.0)
        self._index = _number("index", "immersion", 1.515, "refractive index: air 1, water 1.33, oil 1.515", 2.0)
        self._file = FileEdit(name="file", label="PSF file", filter="*.tif *.tiff *.npy", nullable=True)
        self.extend([self._kind, self._fwhm, self._fwhm_z, self._na, self._wavelength, self._index, self._file])
        self._kind.changed.connect(self._show_psf)

    def _add_actions(self) -> None:
        choices = [(text, name) for name, text in _SOLVERS.items()]
        self._solver = ComboBox(name="solver", label="solver", choices=choices)
        self._preview = PushButton(name="preview", text="preview the tile in the middle")
        self._go = PushButton(name="go", text="deconvolve")
        self._cancel = PushButton(name="cancel", text="cancel", enabled=False)
        self._bar = ProgressBar(name="bar", label=" ", value=0, min=0, max=1, visible=False)
        self._status = Label(name="status", label=" ", value="")
        self.extend([self._solver, self._preview, self._go, self._cancel, self._bar, self._status])
        self._status.native.setWordWrap(True)
        self._preview.clicked.connect(self._start_preview)
        self._go.clicked.connect(self._start)
        self._cancel.clicked.connect(self._stop)

    def form(self) -> Form:
        """Return what is filled in."""
        file = self._file.value
        return Form(
            axes=self._axes.value.strip().lower(),
            solver=self._solver.value,
            psf=self._kind.value,
            pixel_um={axis: entry.value for axis, entry in self._pixel.items() if entry.value > 0},
            fwhm=self._fwhm.value,
            fwhm_z=self._fwhm_z.value,
            numerical_aperture=self._na.value,
            wavelength_um=self._wavelength.value,
            refractive_index=self._index.value,
            file="" if file in (None, Path(), Path(".")) else str(file),
        )

    def _choose_selected(self) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and active in self._layer.choices:
            self._layer.value = active

    def _fill_in(self) -> None:
        """Take axes and pixel size from the layer."""
        layer = self._layer.value
        if layer is None:
            return
        self._axes.value = guessed_axes(layer.axis_labels)
        sizes = dict(zip(self._axes.value, map(_micrometres, layer.scale, layer.units), strict=False))
        for axis, entry in self._pixel.items():
            entry.value = sizes.get(axis) or 0
            entry.visible = axis in self._axes.value
        self._fwhm.value = _FWHM * (sizes.get("x") or 1)

    def _name_units(self) -> None:
        unit = "µm" if self._pixel["x"].value > 0 else "px"
        self._fwhm.label, self._fwhm_z.label = f"FWHM ({unit})", f"FWHM in z ({unit})"

    def _show_psf(self) -> None:
        """Show the entries of the kind of PSF."""
        shown = {
            GAUSSIAN: (self._fwhm, self._fwhm_z),
            WIDEFIELD: (self._na, self._wavelength, self._index),
            FILE: (self._file,),
        }
        for kind, entries in shown.items():
            for entry in entries:
                entry.visible = kind == self._kind.value

    def _start_preview(self) -> None:
        layer, form = self._layer.value, self.form()

        def solve() -> Generator[tuple[int, int], None, Any]:
            """Yield once, so that a preview is cancelled before its tile."""
            pixels = pixels_of(layer.data, layer.multiscale, layer.rgb)
            yield 0, 1
            return one_tile(pixels, form, place)

        if layer is not None:
            place = dict(zip(form.axes, middle_of_view(self._viewer, layer), strict=False))
            self._run(solve(), lambda part, seconds: self._add_preview(layer, form, part, seconds))

    def _start(self) -> None:
        layer, form = self._layer.value, self.form()

        def solve() -> Generator[tuple[int, int], None, Any]:
            """Read and solve."""
            return (yield from whole(pixels_of(layer.data, layer.multiscale, layer.rgb), form))

        if layer is not None:
            self._run(solve(), lambda image, seconds: self._add_result(layer, form, image, seconds))

    def _run(self, steps: Generator[tuple[int, int], None, Any], take: Any) -> None:
        """Run steps in a thread; errors of ours are said in the form, others are napari's."""
        from napari.qt.threading import create_worker

        started = time.perf_counter()

        def guarded() -> Generator[tuple[int, int], None, Any]:
            """Return an error that is meant for the user; an exception that is returned would be raised."""
            try:
                return (yield from steps)
            except SsiError as error:
                return _Refused(str(error))

        def done(found: Any) -> None:
            """Show the result."""
            if isinstance(found, _Refused):
                self._status.value = found.text
            else:
                take(found, time.perf_counter() - started)

        self._set_busy(True)
        self._status.value = "calibrating"
        self._worker = create_worker(
            guarded,
            _connect={"yielded": self._progress, "returned": done, "aborted": self._aborted, "finished": self._ended},
        )

    def _progress(self, step: tuple[int, int]) -> None:
        self._bar.max, self._bar.value = step[1], step[0]
        self._status.value = f"{step[0]} of {step[1]} tiles solved"

    def _aborted(self) -> None:
        self._status.value = "cancelled"

    def _ended(self) -> None:
        self._worker = None
        self._set_busy(False)

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.quit()
            self._cancel.enabled = False
            self._status.value = "stopping after this tile"

    def _set_busy(self, busy: bool) -> None:
        self._preview.enabled = self._go.enabled = not busy
        self._cancel.enabled = self._bar.visible = busy
        self._bar.max, self._bar.value = 1, 0

    def _add_preview(self, layer: Any, form: Form, part: Any, seconds: float) -> None:
        start = np.array([part.start[axis] for axis in form.axes], float)
        if PREVIEW in self._viewer.layers:
            self._viewer.layers.remove(PREVIEW)
        self._viewer.add_image(part.image, name=PREVIEW, **placed(layer, start))
        method, own = part.metrics["method"], part.metrics["seconds"]
        self._status.value = f"solved by {method} in {own:.1f} s; {seconds:.1f} s with the calibration"

    def _add_result(self, layer: Any, form: Form, image: Any, seconds: float) -> None:
        if PREVIEW in self._viewer.layers:
            self._viewer.layers.remove(PREVIEW)
        name = f"{layer.name}, {form.solver}"
        self._viewer.add_image(image, name=name, metadata={"ssi": form.code()}, **placed(layer, np.zeros(image.ndim)))
        self._status.value = f"{seconds:.1f} s. The same in Python: {form.code()}"


def placed(layer: Any, start: Any) -> dict[str, Any]:
    """Return the options of a layer that lies on another, from pixel ``start`` of it on, at the same contrast."""
    same = ("scale", "rotate", "shear", "affine", "units", "axis_labels")
    shown = ("contrast_limits", "colormap", "blending", "gamma")
    where = layer.affine.inverse(layer.data_to_world(start))
    return {name: getattr(layer, name) for name in (*same, *shown)} | {"translate": where, "rgb": False}


def middle_of_view(viewer: Any, layer: Any) -> list[float]:
    """Return the pixel of a layer (in its own axes) in the middle of what is shown."""
    world = np.array(viewer.dims.point, float)
    shown = list(viewer.dims.displayed)
    world[shown] = np.array(viewer.camera.center[-len(shown) :], float)
    return [float(p) for p in layer.world_to_data(world[-layer.ndim :])]


def _micrometres(size: float, unit: Any) -> float | None:
    """Return a length of napari in micrometres, None where its unit is no length."""
    try:
        return float((size * unit).to("micrometer").magnitude)
    except Exception:  # errors of pint: a pixel has no length, and no class of its own here
        return None
