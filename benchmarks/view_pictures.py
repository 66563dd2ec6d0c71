"""Make the pictures of docs/view.md: a run in napari, and the widget with the preview of a tile.

python benchmarks/view_pictures.py --output docs      needs napari, Qt and a display (or xvfb-run -a before it)
python benchmarks/view_pictures.py --short            the same into the current folder; skips where these are missing
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from ssi_pipeline.config import load_config
from ssi_pipeline.demo.demo import prepare_demo
from ssi_pipeline.errors import SsiError
from ssi_pipeline.run import run
from ssi_pipeline.view.maps import SHOWN
from ssi_pipeline.view.opened import open_run
from ssi_pipeline.view.window import fill, require_napari

SIZE = (1100, 680)
COLOURS = 256
"""Of the palette of a picture: what is seen of an interface, in half of the bytes."""


def main(arguments: list[str] | None = None) -> int:
    """Make both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--short", action="store_true", help="no error where napari is missing")
    options = parser.parse_args(arguments)
    try:
        napari = require_napari()
    except SsiError as error:
        print(f"skipped: {error}")
        return 0 if options.short else 1
    with tempfile.TemporaryDirectory() as folder:
        config = demo_run(Path(folder))
        window(napari, config, options.output / "view.png")
        widget(napari, config, options.output / "view-widget.png")
    return 0


def demo_run(folder: Path) -> Path:
    """Run the demo with the Wiener filter and small tiles; return its configuration."""
    path = prepare_demo(folder)
    document = yaml.safe_load(path.read_text())
    document |= {"solver": "wiener", "tiling": {"dimensions": 2, "core": 96}, "executor": {"kind": "serial"}}
    document.pop("training", None)
    path.write_text(yaml.safe_dump(document))
    assert run(load_config(path)).complete
    return path


def window(napari: Any, config: Path, path: Path) -> None:
    """Draw the run, with the alarms over a plane."""
    viewer = napari.Viewer(title="deconvolved.zarr - ssi")
    fill(viewer, open_run(load_config(config), SHOWN))
    viewer.dims.set_point(0, 0.0)
    save(viewer, path)


def widget(napari: Any, config: Path, path: Path) -> None:
    """Draw the widget after the preview of a tile of the input."""
    viewer = napari.Viewer(title="napari")
    data, options, _ = open_run(load_config(config), ()).layers[0]
    viewer.add_image(data, **{**options, "name": "my stack"})
    viewer.dims.set_point(0, 3.0)
    _, form = viewer.window.add_plugin_dock_widget("ssi-pipeline", "Deconvolve")
    viewer.window.resize(*SIZE)
    until(lambda: False, 1.0)
    viewer.reset_view()
    form["preview"].changed.emit(True)
    until(lambda: form["go"].enabled, 300.0)
    save(viewer, path)


def save(viewer: Any, path: Path) -> None:
    """Save the window with few colours, and close it."""
    viewer.window.resize(*SIZE)
    until(lambda: False, 1.5)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
    few = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(few, "PNG", optimize=True)
    path.write_bytes(few.getvalue())
    viewer.close()
    print(f"wrote {path}, {len(few.getvalue()) // 1000} kB")


def until(done: Callable[[], bool], most_s: float) -> None:
    """Let Qt work until something is done, or for some seconds."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + most_s
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
