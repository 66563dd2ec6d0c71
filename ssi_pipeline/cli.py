"""Command line ``ssi``: find the command, run it, handle its errors."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ssi_pipeline.commands.parser import COMMANDS, make_parser
from ssi_pipeline.error_handler import run_command
from ssi_pipeline.interrupts import handling, interrupt
from ssi_pipeline.own_process import claim_process
from ssi_pipeline.redact import masked_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status (``ExitStatus``)."""
    options = argparse.Namespace(traceback=False, verbosity=0)

    def call() -> int:
        """Parse the command line and run the command; SIGTERM and SIGHUP raise KeyboardInterrupt."""
        if arguments is None:
            claim_process()
        given = sys.argv[1:] if arguments is None else arguments
        make_parser().parse_all(given, options)
        options.command_line = shlex.join(["ssi", *masked_arguments(given)])
        module, _, function = COMMANDS[options.command].partition(":")
        with handling(interrupt):
            return int(getattr(import_module(f"ssi_pipeline.commands.{module}"), function)(options))

    show = lambda: bool(options.traceback or options.verbosity > 0)  # noqa: E731
    return int(run_command(call, lambda: _state_folder(options), show))


def _state_folder(options: argparse.Namespace) -> Path | None:
    from ssi_pipeline.config import load_config

    file: Path | None = getattr(options, "config", None)
    changes = getattr(options, "set", ())
    return load_config(file, changes).state_path if file is not None and file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
