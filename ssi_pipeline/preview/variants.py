"""Variants of the configuration that a preview compares: other PSFs or option values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.changes import Change, put
from ssi_pipeline.errors import ConfigError

_MOST = 12
"""Most variants: rows per tile on the contact sheet."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration and its name, which is empty for a single variant."""

    name: str
    config: RunConfig


def make_variants(config: RunConfig, psfs: Sequence[Path], changes: Sequence[Change]) -> list[Variant]:
    """Return all combinations of PSFs and option values.

    Parameters
    ----------
    psfs
        PSF files; each replaces the PSF of all channels.
    changes
        Options with the values to compare.

    Raises
    ------
    ConfigError
        A file is missing, a change is invalid, or there are too many variants.
    """
    choices = [[_of_psf(path) for path in psfs]] if psfs else []
    choices += [_of_change(change) for change in changes]
    combinations = list(itertools.product(*choices))
    if len(combinations) > _MOST:
        raise ConfigError(f"--psf and --set give {len(combinations)} variants: expected at most {_MOST}")
    variants = []
    for combination in combinations:
        document = config.model_dump(mode="json")
        for _, key, value in combination:
            _vary(document, key, value)
        name = ", ".join(text for text, _, _ in combination)
        variants.append(Variant(name, parse_config(document, name=name or "configuration")))
    return variants


def _of_psf(path: Path) -> tuple[str, str, Any]:
    if not path.is_file():
        raise ConfigError(f"--psf {path} not found: expected a TIFF or npy file")
    return f"psf={path.name}", "psf", {"kind": "file", "path": str(path.resolve())}


def _of_change(change: Change) -> list[tuple[str, str, Any]]:
    return [
        (f"{change.key}={text}", change.key, value) for text, value in zip(change.values, change.parsed(), strict=True)
    ]


def _vary(document: dict[str, Any], key: str, value: Any) -> None:
    if key.split(".")[0] in ("input", "output", "executor"):
        raise ConfigError(
            f"--set {key}: a preview compares solver options on the same tiles; input, output and executor cannot vary"
        )
    put(document, key, value)
