"""Options of ``ssi psf make``, ``show``, ``beads`` and ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssi_pipeline.commands.arguments import IMMERSIONS, Add, Parser, add_json, immersion, lengths, positive

_KINDS = ("gaussian", "widefield", "gibson_lanni", "confocal", "light_sheet", "two_photon")


def add_psf(add: Add, add_common: Callable[[Parser], None]) -> None:
    """Add the command with its four actions."""
    psf = add("psf", "make, look at and measure point spread functions")
    group = psf.add_subparsers(required=True, metavar="ACTION", parser_class=Parser)

    def action(name: str, text: str) -> Parser:
        """Add an action; its options are completed as those of ``ssi psf``."""
        sub: Parser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(action=name, parser=sub)
        add_common(sub)
        return sub

    actions = (
        _add_make(action("make", "compute a PSF and write it with its voxel size")),
        _add_show(action("show", "show sections, widths, sampling and transfer function of a PSF")),
        _add_beads(action("beads", "measure the PSF in an image of beads")),
        _add_fit(action("fit", "fit an optical parameter of the PSF to the image itself")),
    )
    for sub in actions:
        add_json(sub)
        psf.options += sorted({*sub.options} - {*psf.options})


def _add_make(make: Parser) -> Parser:
    make.add_argument("output", type=Path, metavar="FILE", help=".tif (OME-TIFF), .zarr (OME-Zarr) or .npy")
    make.add_argument("--config", type=Path, help="the PSF of a configuration, on the voxels of its image")
    make.add_argument("--channel", type=int, metavar="N", help="with --config: whose PSF, if there are several")
    make.add_argument("--kind", choices=_KINDS, metavar="KIND", help=", ".join(_KINDS))
    make.add_argument("--na", type=positive, metavar="NA", help="numerical aperture")
    make.add_argument("--wavelength-um", type=positive, metavar="UM", help="emission wavelength in micrometres")
    make.add_argument(
        "--immersion", type=immersion, metavar="MEDIUM", help=f"{', '.join(IMMERSIONS)}, or a refractive index"
    )
    _add_voxel(make, "voxel size of a kind in micrometres, e.g. 0.2,0.1,0.1; two numbers: one plane")
    _add_pictures(make)
    _add_set(make, "psf.pinhole_au=0.8")
    return make


def _add_show(show: Parser) -> Parser:
    show.add_argument("source", type=Path, metavar="run.yaml|FILE", help="configuration, or PSF: TIFF, npy, zarr")
    _add_voxel(show, "voxel size of a file that does not state it, in micrometres")
    _add_pictures(show)
    _add_set(show, "psf.energy=0.99")
    return show


def _add_beads(beads: Parser) -> Parser:
    beads.add_argument(
        "image", type=Path, metavar="IMAGE", help="image of beads, in a format that ssi reads; -v lists every bead"
    )
    beads.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".tif, .zarr or .npy, for psf.kind: file"
    )
    beads.add_argument("--html", type=Path, metavar="FILE", help="also write a page with every bead")
    _add_voxel(beads, "voxel size of an image that does not state it, in micrometres")
    beads.add_argument("--axes", help="axes in the file's order, if it does not name them, for instance zyx")
    beads.add_argument("--channel", type=int, default=0, metavar="N", help="channel (default: 0)")
    beads.add_argument("--bead-um", type=positive, metavar="UM", help="diameter of the beads: it is deconvolved")
    beads.add_argument("--box-um", type=lengths, metavar="Z,Y,X", help="size of the PSF (default: 12 widths, z 8)")
    beads.add_argument("--radial", action="store_true", help="average around the optical axis")
    return beads


def _add_fit(fit: Parser) -> Parser:
    fit.add_argument("config", type=Path, metavar="run.yaml", help="configuration: its image and PSF")
    fit.add_argument("--free", required=True, metavar="NAME", help="defocus or na, the numerical aperture")
    fit.add_argument("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values to search, for instance 0 6")
    fit.add_argument("--channel", type=int, default=0, metavar="N", help="channel of the output (default: 0)")
    fit.add_argument("--out", type=Path, metavar="FILE", help="also write the configuration with the fitted value")
    _add_pictures(fit)
    _add_set(fit, "input.roi.z=[10, 11]")
    return fit


def _add_pictures(parser: Parser) -> None:
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a self-contained page")
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write a picture")


def _add_voxel(parser: Parser, text: str) -> None:
    parser.add_argument("--voxel-size-um", type=lengths, metavar="Z,Y,X", help=text)


def _add_set(parser: Parser, example: str) -> None:
    text = f"change an option of the configuration, e.g. {example}"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
