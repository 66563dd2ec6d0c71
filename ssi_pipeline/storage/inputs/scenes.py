"""Names of the images in a file that may hold several: a TIFF, or a file of a microscope."""

from __future__ import annotations

from pathlib import Path

from ssi_pipeline.storage.inputs.source import is_tiff


def list_scenes(path: Path) -> list[str]:
    """Return the names of the images of a file, in the order of their numbers.

    Raises
    ------
    InputError
        The file is damaged, or its reader is not installed.
    """
    if not is_tiff(path):
        from ssi_pipeline.storage.inputs.microscope.opening import list_microscope_scenes

        return list_microscope_scenes(path)
    from ssi_pipeline.tiff.opening import open_tiff
    from ssi_pipeline.tiff.scenes import describe_scene

    opened = open_tiff(path, f"input {path}", scene=0)
    with opened.tif as tif:
        return [describe_scene(series) for series in tif.series]
