"""``ssi import``: an image of any format that is read, copied into OME-Zarr by a run that copies its tiles."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.config import parse_config
from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from ssi_pipeline.storage.inputs.facts import Facts

_EXACT_BITS = 24
"""Integers up to 2^24 are exact in float32, in which a run reads its tiles."""

_SIDE = 1024


def import_image(options: argparse.Namespace) -> int:
    """Copy an image into an OME-Zarr, resume a copy that was stopped, and read it back."""
    from ssi_pipeline.run import run
    from ssi_pipeline.run.checks.verify import verify
    from ssi_pipeline.run.session import Caller
    from ssi_pipeline.storage.inputs.facts import read_facts

    facts = read_facts(options.image, options.level, options.axes, options.scene)
    if facts.unnamed:
        raise InputError(f"{facts.unnamed} (here: --axes)")
    _refuse_inexact(facts)
    config = parse_config(_document(options, facts))
    outcome = run(config, caller=Caller(verbosity=options.verbosity, command=options.command_line))
    if not outcome.complete:
        Screen(options).hint("the same command resumes")
        return outcome.exit_status
    found = verify(config)
    for line in (*found.damage, *found.problems):
        Screen(options).say(line)
    if not found.good:
        return ExitStatus.FAILED
    Screen(options).say(f"{options.output}: {facts.volume.describe()}, all {found.blocks} blocks read back and equal")
    return ExitStatus.COMPLETE


def _refuse_inexact(facts: Facts) -> None:
    """Refuse pixels that a copy through float32 would change.

    Raises
    ------
    InputError
        They are integers of more than 24 bits, or float64.
    """
    dtype = np.dtype(facts.volume.dtype)
    bits = np.finfo(dtype).nmant if dtype.kind == "f" else dtype.itemsize * 8
    if bits > _EXACT_BITS:
        raise InputError(
            f"input {facts.path} has pixels of {dtype}; expected at most 16 bits or float32, which are copied exactly. "
            "Convert it with bioformats2raw, or give it to `ssi run` as it is"
        )


def _document(options: argparse.Namespace, facts: Facts) -> dict[str, Any]:
    if options.output.suffix != ".zarr":
        raise ConfigError(f"{options.output}: expected a name that ends in .zarr")
    return {
        "input": {
            "path": str(facts.path if isinstance(facts.path, Url) else facts.path.resolve()),
            "scene": options.scene,
            "level": options.level,
            "axes": options.axes,
            "fill": "none",
            "nonfinite": "fail",
        },
        "output": {"path": str(options.output.resolve()), "carry": options.carry},
        "psf": {"kind": "identity"},
        "solver": "identity",
        "quality": {"extended": False},
        "tiling": {"dimensions": 2, "core": {"y": _SIDE, "x": _SIDE}},
        "executor": {"kind": "serial"},
    }
