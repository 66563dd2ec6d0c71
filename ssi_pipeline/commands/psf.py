"""The commands psf make, psf show and psf beads; psf fit is in psf_fit.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.commands.psf_fit import fit
from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from ssi_pipeline.workbench.facts import PsfFacts

FORMAT = 1


def psf(options: argparse.Namespace) -> int:
    """Run one command of the PSF workbench."""
    return int({"make": make, "show": show, "beads": beads, "fit": fit}[options.action](options))


def make(options: argparse.Namespace) -> int:
    """Compute a PSF and write it."""
    from ssi_pipeline.commands.documents import plain
    from ssi_pipeline.workbench.save import refuse_output, refuse_pictures, save_psf
    from ssi_pipeline.workbench.source import of_kind, psfs_of

    screen = Screen(options)
    refuse_output(options.output)
    refuse_pictures(options.html, options.png)
    optics = _optics(options)
    if options.config is not None:
        if options.kind is not None or optics or options.voxel_size_um is not None:
            raise ConfigError("--config says kind, optics and voxel size: change them with --set, or leave it out")
        found = _of_channel(options, psfs_of(options.config, options.set))
    else:
        if options.kind is None or options.voxel_size_um is None:
            raise ConfigError("expected --config run.yaml, or --kind and --voxel-size-um")
        found = of_kind(options.kind, options.voxel_size_um, options.set, optics)
    # whole: `psf.energy` crops it where it is used, as it does a computed one
    save_psf(options.output, found.whole.values, found.voxel_um, found.rows()[0][1])
    written = [options.output, *_pictures(options, options.output.name, [found])]
    rows = [*found.rows(), *(("wrote", str(path)) for path in written)]
    screen.result(rows, plain({"format": FORMAT, "psfs": [found.document()]}))
    return ExitStatus.COMPLETE


def _of_channel(options: argparse.Namespace, psfs: list[PsfFacts]) -> PsfFacts:
    """Return the PSF of ``--channel``; without it that of all channels, or the only one."""
    if options.channel is None and len(psfs) == 1:
        return psfs[0]
    for facts in psfs:
        if options.channel is not None and facts.name in (f"channel {options.channel}", "all channels"):
            return facts
    names = ", ".join(facts.name for facts in psfs)
    raise ConfigError(
        f"{options.config} has PSFs of {names}: expected one of them, by its number in --channel; "
        "where a PSF varies, a configuration with that of one place"
    )


def _optics(options: argparse.Namespace) -> dict[str, float]:
    """Return the options of ``psf`` that have an option of the command line."""
    names = {
        "na": "numerical_aperture",
        "wavelength_um": "wavelength_um",
        "immersion": "immersion_index" if options.kind == "gibson_lanni" else "refractive_index",
    }
    return {name: value for given, name in names.items() if (value := getattr(options, given)) is not None}


def show(options: argparse.Namespace) -> int:
    """Show what a PSF is."""
    from ssi_pipeline.commands.documents import plain
    from ssi_pipeline.workbench.save import refuse_pictures
    from ssi_pipeline.workbench.source import psfs_of

    screen = Screen(options)
    refuse_pictures(options.html, options.png)
    psfs = psfs_of(options.source, options.set, options.voxel_size_um)
    rows = [row for facts in psfs for row in (*([("", facts.name)] if len(psfs) > 1 else []), *facts.rows())]
    rows += [("wrote", str(path)) for path in _pictures(options, options.source.name, psfs)]
    screen.result(rows, plain({"format": FORMAT, "psfs": [facts.document() for facts in psfs]}))
    return ExitStatus.COMPLETE


def _pictures(options: argparse.Namespace, title: str, psfs: list[PsfFacts]) -> list[Path]:
    from ssi_pipeline.workbench.page import write_psf_page, write_psf_pictures

    paths: list[Path] = []
    if options.png is not None:
        paths += write_psf_pictures(options.png, psfs)
    if options.html is not None:
        write_psf_page(options.html, title, psfs)
        paths.append(options.html)
    return paths


def beads(options: argparse.Namespace) -> int:
    """Measure a PSF in an image of beads."""
    from ssi_pipeline.commands.documents import plain
    from ssi_pipeline.workbench.beads.command import measure_file
    from ssi_pipeline.workbench.beads.measure import Request
    from ssi_pipeline.workbench.save import refuse_output, save_psf

    screen = Screen(options)
    refuse_output(options.out)
    if options.html is not None:
        refuse_output(options.html, (".html",))
    request = Request(options.voxel_size_um, options.bead_um, options.box_um, options.radial)
    report = measure_file(options.image, options.channel, options.axes, request)
    save_psf(options.out, report.psf.whole.values, report.psf.voxel_um, f"measured in {options.image.name}")
    rows = [*report.rows(), *(report.bead_rows() if options.verbosity > 0 else []), ("wrote", str(options.out))]
    if options.html is not None:
        report.write_page(options.html, options.image.name)
        rows.append(("wrote", str(options.html)))
    screen.result(rows, plain({"format": FORMAT, **report.document()}))
    return ExitStatus.COMPLETE
