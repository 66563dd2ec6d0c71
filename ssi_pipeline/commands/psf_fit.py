"""The command psf fit."""

from __future__ import annotations

import argparse

from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.exit_status import ExitStatus

FORMAT = 1


def fit(options: argparse.Namespace) -> int:
    """Fit an optical parameter of the PSF to the image of a configuration."""
    from ssi_pipeline.commands.documents import plain
    from ssi_pipeline.workbench.fit.fit import fit_psf
    from ssi_pipeline.workbench.fit.report import (
        document_of,
        refuse_config,
        rows_of,
        save_config,
        save_page,
        save_picture,
    )
    from ssi_pipeline.workbench.save import refuse_pictures

    screen = Screen(options)
    if options.out is not None:
        refuse_config(options.out, options.config)
    refuse_pictures(options.html, options.png)
    found = fit_psf(options.config, options.set, options.free, options.range, options.channel, screen.hint)
    rows = rows_of(found)
    if options.png is not None:
        save_picture(options.png, found)
    if options.html is not None:
        save_page(options.html, options.config.name, found)
    if options.out is not None and found.told:
        save_config(options.out, options.config, options.set, found)
    elif options.out is not None:
        rows.append(("not written", f"{options.out}: the data cannot tell the value"))
    written = (options.png, options.html, options.out if found.told else None)
    rows += [("wrote", str(path)) for path in written if path is not None]
    screen.result(rows, plain({"format": FORMAT, **document_of(found)}))
    return ExitStatus.COMPLETE
