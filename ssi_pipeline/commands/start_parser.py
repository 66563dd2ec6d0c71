"""Options of the commands that come before a configuration: ``ssi init``, ``info``, ``import`` and ``images``."""

from __future__ import annotations

from pathlib import Path

from ssi_pipeline.commands.arguments import IMMERSIONS, Add, Parser, add_json, immersion, place, positive


def add_start(add: Add) -> None:
    """Add the commands."""
    init = add("init", "write a commented configuration file, with what an image says of itself")
    init.add_argument("config", type=Path, help="file to write, for instance run.yaml")
    init.add_argument(
        "--input", type=place, metavar="FILE", help="image: OME-Zarr, TIFF, .npy, .nd2, .czi, .lif; path or URL"
    )
    _add_scene(init)
    init.add_argument(
        "--psf",
        metavar="KIND",
        help="gaussian, widefield, gibson_lanni, confocal, light_sheet, two_photon, identity, or a measured PSF's file",
    )
    init.add_argument("--na", type=positive, metavar="NA", help="numerical aperture, for a computed PSF")
    init.add_argument("--wavelength-um", type=positive, metavar="UM", help="emission wavelength in micrometres")
    init.add_argument(
        "--immersion", type=immersion, metavar="MEDIUM", help=f"{', '.join(IMMERSIONS)}, or a refractive index"
    )
    init.add_argument(
        "--from",
        dest="source",
        metavar="WORKFLOW",
        help="start from a workflow of the package, e.g. widefield-stack; an unknown name lists all",
    )
    init.add_argument("--full", action="store_true", help="include all options (default: those that matter first)")
    info = add("info", "show what is in an image, and what a run of it would need")
    info.add_argument(
        "image",
        type=place,
        help="OME-Zarr, zarr array, TIFF, .npy, .nd2, .czi, .lif; path, pattern (scan_T{t}_Z{z}.tif) or URL",
    )
    _add_scene(info)
    copy = add("import", "copy an image into OME-Zarr, and read it back; the same command resumes")
    copy.add_argument("image", type=place, help="image, as for `ssi info`; pays for compressed .czi and many files")
    copy.add_argument("output", type=Path, help="OME-Zarr image to write, for instance stack.zarr")
    _add_scene(copy)
    copy.add_argument(
        "--carry", nargs="+", choices=("labels", "tables"), default=[], help="also copy these of an OME-Zarr image"
    )
    for sub in (info, copy):
        sub.add_argument("--level", type=int, default=0, metavar="N", help="resolution level (default: 0)")
        sub.add_argument("--axes", help="axes in the file's order, if it does not name them, for instance zyx")
    add_json(info)
    images = add("images", "list the images in a plate, a collection, a folder or a file")
    images.add_argument(
        "path", type=Path, help="plate, bioformats2raw collection, zarr group, folder, or file with several"
    )
    images.add_argument("--match", default="*", metavar="PATTERN", help="only names that match, as input.images")
    add_json(images)


def _add_scene(parser: Parser) -> None:
    parser.add_argument(
        "--scene", type=int, metavar="N", help="image of a TIFF, .nd2, .czi or .lif with several, counted from 0"
    )
