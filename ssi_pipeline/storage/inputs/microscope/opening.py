"""Which reader a file of a microscope needs, and which of its scenes is meant."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssi_pipeline.errors import InputError, how_to_install
from ssi_pipeline.storage.inputs.box_source import BoxImage

Open = Callable[[Path, int | None], BoxImage]
List = Callable[[Path], list[str]]

_READERS = {
    ".nd2": ("Nikon ND2", "nd2", "nd2_image"),
    ".czi": ("Zeiss CZI", "czifile", "czi_image"),
    ".lif": ("Leica LIF", "liffile", "lif_image"),
}
"""By ending: the format's name, the library that reads it, and our module."""

ENDINGS = tuple(_READERS)


def open_microscope_file(path: Path, scene: int | None) -> BoxImage:
    """Open one image of a file of a microscope.

    Raises
    ------
    InputError
        The reader is not installed, the file is damaged, or it has several scenes and none was chosen.
    """
    with _reader(path) as module:
        opened: Open = module.open_image
        return opened(path, scene)


def list_microscope_scenes(path: Path) -> list[str]:
    """Return the names of the images of a file of a microscope.

    Raises
    ------
    InputError
        The reader is not installed, or the file is damaged.
    """
    with _reader(path) as module:
        listed: List = module.list_scenes
        return listed(path)


@contextmanager
def _reader(path: Path) -> Iterator[Any]:
    """Give the module that reads a file; what goes wrong in it becomes an InputError."""
    kind, library, module = _READERS[path.suffix.lower()]
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise InputError(
            f"input {path} is a {kind} file, and its reader is not installed ({error}): "
            f"{how_to_install(library, 'formats')}, or convert the file to OME-Zarr, for instance with bioformats2raw"
        ) from error
    found = importlib.import_module(f"ssi_pipeline.storage.inputs.microscope.{module}")
    try:
        yield found
    except (InputError, PermissionError):
        raise
    except Exception as error:  # the readers' own errors, struct.error, KeyError ... on broken files
        raise InputError(
            f"input {path} is not a readable {kind} file ({type(error).__name__}: {error}): copy it again, "
            "or convert it to OME-Zarr, for instance with bioformats2raw"
        ) from error


def choose_scene(scene: int | None, names: Sequence[str], path: Path) -> int:
    """Return the index of the scene to read.

    Raises
    ------
    InputError
        There are several and none is chosen, or the chosen one is not there.
    """
    if not names:
        raise InputError(f"input {path} has no images")
    if scene is None and len(names) == 1:
        return 0
    if scene is not None and scene < len(names):
        return scene
    shown = "; ".join(f"{i}: {name}" for i, name in enumerate(names[:_MOST]))
    more = f"; and {len(names) - _MOST} more" if len(names) > _MOST else ""
    wrong = f"has no scene {scene}" if scene is not None else f"has {len(names)} scenes and one is read"
    raise InputError(f"input {path} {wrong}: set input.scene to one of {shown}{more}")


_MOST = 20


def refuse_axes(sizes: dict[str, int], known: str, path: Path, kind: str) -> None:
    """Refuse dimensions that are none of t c z y x.

    Raises
    ------
    InputError
        One of them is longer than 1.
    """
    others = {name: n for name, n in sizes.items() if name not in known and n > 1}
    if others:
        shown = ", ".join(f"{name} ({n})" for name, n in others.items())
        raise InputError(
            f"input {path} has the dimensions {shown} of {kind}; expected t, c, z, y, x only. "
            "Save one position along them as an image of its own"
        )


def micrometres(metres: float) -> float:
    """Return a length without the digits that the conversion adds."""
    return float(f"{metres * 1e6:.9g}")


def omero_of(names: Sequence[Any]) -> dict[str, Any]:
    """Return OMERO metadata with the names of channels, if all have one."""
    labels = [str(name) for name in names if name]
    return {"channels": [{"label": label} for label in labels]} if labels and len(labels) == len(names) else {}
