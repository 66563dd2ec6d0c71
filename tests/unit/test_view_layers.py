"""What viewers are given: lazy images, the place of grids, and the server on loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.view.form import FILE, WIDEFIELD, Form, guessed_axes, pixels_of
from ssi_pipeline.view.frame import Frame
from ssi_pipeline.view.lazy import LazyImage, channel_of_array
from ssi_pipeline.view.maps import ALWAYS, chosen_metrics, tile_layers, unwritten_layers
from ssi_pipeline.view.serve import folder_server

ORIGIN = "https://viewer.example.org"


@pytest.mark.parametrize(
    "key",
    [
        (1,),
        (slice(None), 3),
        (..., slice(4, 1, -1)),
        (-1, slice(1, None, 2), ...),
        (np.int64(2), slice(None), slice(-3, None)),
        (slice(3, 3),),
        (1, 2, 3),
        ...,
        slice(0, 2),
    ],
    ids=str,
)
def test_a_lazy_image_is_indexed_as_an_array(key: Any) -> None:
    whole = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    asked: list[int] = []

    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        found = whole[box]
        asked.append(found.size)
        return found

    found = LazyImage(whole.shape, whole.dtype, read)[key]
    assert np.array_equal(found, whole[key])
    assert np.shape(found) == np.shape(whole[key])
    spread = 2 if key == (-1, slice(1, None, 2), ...) else 1
    assert sum(asked) <= spread * max(1, np.size(found))


def test_an_index_outside_a_lazy_image_is_an_error() -> None:
    lazy = LazyImage((2, 3), "uint8", lambda box: np.zeros((2, 3))[box])
    for key in (2, (0, -4), (0, 0, 0)):
        with pytest.raises(IndexError):
            lazy[key]


def test_a_channel_of_an_array_lacks_the_axis_of_channels() -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert np.array_equal(np.asarray(channel_of_array(array, "zcx", 2)), array[:, 2])
    assert np.array_equal(channel_of_array(array, "zyx", 0)[1], array[1])


def test_a_cell_of_a_grid_covers_its_pixels() -> None:
    """Edges of pixels are half a pixel around the centres that scale and translate give."""
    metadata = {"scale": {"y": 0.5, "x": 2.0}, "translation": {"x": 10.0}, "axes_units": {"x": "micrometer"}}
    image = Frame.of("cyx", metadata, {"y": 4})
    assert image.options() == {
        "scale": [0.5, 2.0],
        "translate": [2.0, 10.0],
        "units": ["pixel", "micrometer"],
        "axis_labels": ["y", "x"],
    }
    grid = image.cells({"y": 3, "x": 5})
    for axis, pixels in (("y", 3), ("x", 5)):
        edge = image.translate[axis] - image.scale[axis] / 2
        assert grid.translate[axis] - grid.scale[axis] / 2 == pytest.approx(edge)
        assert grid.scale[axis] == pixels * image.scale[axis]


def metrics(flag: list[float], status: list[float]) -> dict[str, NDArray[np.float32]]:
    values = {"flag": flag, "status": status, "method": [1.0] * len(flag), "chi2": [1.0, 2.0, np.nan]}
    return {name: np.array(row, np.float32).reshape(1, 1, 1, 1, -1) for name, row in values.items()}


def test_flagged_and_failed_tiles_have_names() -> None:
    frame = Frame.of("yx", {})
    layers = tile_layers(frame, metrics([1 + 16, 0, np.nan], [1, 1, 2]), [""], ["chi2", "whiteness"])
    assert [options["name"] for _, options, _ in layers] == ["chi2", "alarms"]
    labels, options, kind = layers[-1]
    assert kind == "labels"
    words = dict(zip(options["features"]["index"], options["features"]["tile"], strict=True))
    assert [words[int(label)] for label in labels[0]] == ["held-out, chi2", "", "failed"]
    assert options["colormap"][labels[0, 0]] != options["colormap"][labels[0, 2]]
    assert options["colormap"][0] == "transparent"


def test_what_is_not_written_is_said_until_all_is() -> None:
    written = np.array([True, False]).reshape(1, 1, 1, 1, 2)
    ((labels, options, _),) = unwritten_layers(Frame.of("yx", {}), written, [""])
    assert labels.tolist() == [[0, 1]]
    assert options["name"] == "not written yet"
    assert unwritten_layers(Frame.of("yx", {}), np.ones_like(written), [""]) == []


def test_maps_are_chosen_by_name() -> None:
    assert "chi2" in chosen_metrics(None)
    assert chosen_metrics("seam,chi2") == ("seam", "chi2")
    assert set(chosen_metrics("all")).isdisjoint(ALWAYS)
    with pytest.raises(ConfigError, match=r"--maps chi: there is no such map; expected all, or some of .*chi2"):
        chosen_metrics("chi")


@pytest.mark.parametrize(
    ("labels", "axes"),
    [(("z", "y", "x"), "zyx"), (("-2", "-1"), "yx"), (("-4", "-3", "-2", "-1"), "tzyx"), (("T", "Y", "X"), "tyx")],
)
def test_axes_of_a_layer(labels: tuple[str, ...], axes: str) -> None:
    assert guessed_axes(labels) == axes


def test_the_form_is_a_call() -> None:
    plain = Form("zyx", "wiener", fwhm=2.0)
    assert plain.arguments() == {"psf": 2.0, "axes": "zyx", "voxel_size_um": None, "solver": "wiener"}
    sizes = {"z": 0.3, "y": 0.1, "x": 0.1}
    deep = Form("zyx", "wiener", pixel_um=sizes, fwhm=0.25, fwhm_z=0.8)
    assert deep.arguments()["psf"] == (0.8, 0.25, 0.25)
    assert deep.arguments()["voxel_size_um"] == sizes
    assert Form("tyx", "wiener", pixel_um=sizes, fwhm_z=0.8).arguments()["voxel_size_um"] == {"y": 0.1, "x": 0.1}
    optics = Form("zyx", "ssi", WIDEFIELD, sizes, numerical_aperture=1.2, refractive_index=1.33)
    assert optics.arguments()["psf"].refractive_index == 1.33
    assert "ssi.psf.widefield(1.2, 0.52, refractive_index=1.33)" in optics.code()


def test_what_the_form_lacks_is_said() -> None:
    with pytest.raises(ConfigError, match="no PSF: choose its file"):
        Form("yx", "wiener", FILE).arguments()
    with pytest.raises(ConfigError, match="a widefield PSF needs it"):
        Form("yx", "wiener", WIDEFIELD).arguments()
    with pytest.raises(ConfigError, match="known along z alone"):
        Form("zyx", "wiener", pixel_um={"z": 0.3}).arguments()
    with pytest.raises(InputError, match="has colours"):
        pixels_of(np.zeros((8, 8, 3)), multiscale=False, rgb=True)
    huge = LazyImage((1000, 2048, 2048), "uint16", lambda box: np.zeros(1))
    with pytest.raises(InputError, match=r"7\.8 GiB, more than 4"):
        pixels_of([huge], multiscale=True, rgb=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "secret.txt").write_text("outside")
    folder = tmp_path / "out.zarr"
    (folder / "c").mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "c" / "0").write_bytes(bytes(range(100)))
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    server, address = folder_server(folder, ORIGIN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def get(address: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Message]:
    request = urllib.request.Request(address, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_files_are_served_whole_and_in_parts(served: str) -> None:
    assert served.startswith("http://127.0.0.1:")
    status, data, headers = get(f"{served}/zarr.json")
    assert (status, data, headers["Content-Type"]) == (200, b"{}", "application/json")
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    for text, part in (
        ("bytes=10-19", (10, 20)),
        ("bytes=-8", (92, 100)),
        ("bytes=95-", (95, 100)),
        ("bytes=90-200", (90, 100)),
    ):
        status, data, headers = get(f"{served}/c/0", Range=text)
        assert (status, data) == (206, bytes(range(*part)))
        assert headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/100"
    assert get(f"{served}/c/0", Range="bytes=100-")[0] == 416
    status, data, headers = get(f"{served}/c/0", "HEAD")
    assert (status, data, headers["Content-Length"]) == (200, b"", "100")
    status, _, headers = get(f"{served}/c/0", "OPTIONS", Origin=ORIGIN)
    assert (status, headers["Access-Control-Allow-Headers"]) == (204, "Range")


@pytest.mark.parametrize(
    "path", ["c/1", "c", "", "link", "../secret.txt", "%2e%2e/secret.txt", "c/%00", "c/../../secret.txt"]
)
def test_nothing_else_is_served(served: str, path: str) -> None:
    assert get(f"{served}/{path}")[0] == 404


def test_nobody_reads_without_the_token(served: str) -> None:
    base = served.rpartition("/")[0]
    for path in ("zarr.json", "x/zarr.json", ""):
        assert get(f"{base}/{path}")[0] == 404
    assert get(f"{served}/zarr.json", "PUT")[0] == 501


def test_napari_finds_the_reader_without_torch_and_dask() -> None:
    code = """
import sys
from ssi_pipeline.view.reader import get_reader
assert get_reader("README.md") is None and get_reader(["a.zarr", "b.zarr"]) is None
import ssi_pipeline.view.window, ssi_pipeline.view.neuroglancer, ssi_pipeline.view.form
print(sorted({"torch", "dask", "napari", "qtpy", "vispy"} & set(sys.modules)))
import importlib.util
if importlib.util.find_spec("magicgui"):
    import ssi_pipeline.view.widget
print(sorted({"torch", "dask"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]
