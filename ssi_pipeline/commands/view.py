"""The command view."""

from __future__ import annotations

import argparse

from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.exit_status import ExitStatus


def view(options: argparse.Namespace) -> int:
    """Open a run in napari, or serve its output for neuroglancer."""
    from ssi_pipeline.view.maps import chosen_metrics
    from ssi_pipeline.view.opened import config_of

    if options.port and not options.neuroglancer:
        raise ConfigError("--port is for --neuroglancer alone")
    if not 0 <= options.port < 1 << 16:
        raise ConfigError(f"--port is {options.port}: expected 1 to 65535, or none for any free one")
    maps, run, screen = chosen_metrics(options.maps), config_of(options.config, options.set), Screen(options)
    if options.neuroglancer:
        from ssi_pipeline.view.neuroglancer import serve

        screen.hint("serving the output on this machine alone; Control-C ends it. Open in a browser:")
        serve(run, options.port, screen.say)
    else:
        from ssi_pipeline.view.window import show

        show(run, maps, options.three_d)
    return ExitStatus.COMPLETE
