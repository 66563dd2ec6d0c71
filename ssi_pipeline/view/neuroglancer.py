"""A link that opens an output in neuroglancer, with the contrast of ``ssi view``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import InputError, OutputError
from ssi_pipeline.view.images import OutputImage
from ssi_pipeline.view.opened import Opened, open_run
from ssi_pipeline.view.serve import folder_server

CLIENT = "https://neuroglancer-demo.appspot.com"
"""The page of neuroglancer; it is code that runs in the browser, and the pixels go from this machine to the browser."""

_SHADER = """#uicontrol invlerp normalized
#uicontrol vec3 color color
void main() { emitRGB(color * normalized()); }
"""


def link(client: str, address: str, layers: list[Any], output: OutputImage) -> str:
    """Return the link; ``address``: of the output, ``layers``: as ``open_run`` returns them."""
    shown = []
    for data, options, kind in layers:
        name = str(options["name"])
        what, _, channel = name.partition(": ")
        if kind == "labels" or what not in ("output", "uncertainty") or data is None:
            continue
        c = output.channels.index(channel) if channel else 0
        shown.append(
            _layer(name, f"{address}/" + ("uncertainty/" if what == "uncertainty" else ""), options, c, output)
        )
    state = {
        "layers": shown,
        "displayDimensions": [axis for axis in "xyz" if axis in output.axes],
        "layout": "4panel" if "z" in output.axes else "xy",
        "showSlices": False,
    }
    return f"{client}/#!{quote(json.dumps(state, separators=(',', ':')))}"


def _layer(name: str, source: str, options: dict[str, Any], c: int, output: OutputImage) -> dict[str, Any]:
    colour = options["colormap"] if options["colormap"].startswith("#") else "#ffffff"
    layer = {
        "type": "image",
        "name": name,
        "source": f"zarr://{source}",
        "shader": _SHADER,
        "shaderControls": {"normalized": {"range": options["contrast_limits"]}, "color": colour},
        "visible": options.get("visible", True),
        "blend": "additive",
        "opacity": 1,
    }
    return layer | ({"localPosition": [c]} if "c" in output.axes else {})


def _folder(opened: Opened) -> Path:
    if isinstance(opened.path, Path):
        return opened.path
    raise InputError(f"{opened.path} is a URL, but the link serves a folder: open the URL in neuroglancer itself")


def serve(run: RunConfig | Path, port: int, say: Callable[[str], None], client: str = CLIENT) -> None:
    """Print the link and serve the output until Control-C.

    Raises
    ------
    SsiError
        There is no run, or the port is in use.
    """
    opened = open_run(run, ())
    try:
        server, address = folder_server(_folder(opened), client, port)
    except OSError as error:
        raise OutputError(
            f"--port {port}: {error.strerror}; choose another, or leave it out for any free one"
        ) from None
    with server:
        say(link(client, address, opened.layers, OutputImage(opened.path)))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
