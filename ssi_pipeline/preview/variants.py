"""Variants of the configuration that a preview compares: other PSFs or option values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.yaml_text import parse_yaml
from ssi_pipeline.errors import ConfigError

_MOST = 12
"""Most variants: rows per tile on the contact sheet."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A configuration and its name, which is empty for a single variant."""

    name: str
    config: RunConfig


def make_variants(config: RunConfig, psfs: Sequence[Path], changes: Sequence[str]) -> list[Variant]:
    """Return all combinations of PSFs and option values.

    Parameters
    ----------
    psfs
        PSF files; each replaces the PSF of all channels.
    changes
        ``key=value,value``, keys with dots between sections.

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
            _put(document, key, value)
        name = ", ".join(text for text, _, _ in combination)
        variants.append(Variant(name, parse_config(document, name=name or "configuration")))
    return variants


def _of_psf(path: Path) -> tuple[str, str, Any]:
    if not path.is_file():
        raise ConfigError(f"--psf {path} not found: expected a TIFF or npy file")
    return f"psf={path.name}", "psf", {"kind": "file", "path": str(path.resolve())}


def _of_change(change: str) -> list[tuple[str, str, Any]]:
    key, found, values = change.partition("=")
    if not found or not key.strip() or not values.strip():
        raise ConfigError(
            f"--set {change!r}: expected key=value or key=value,value, for instance training.steps=100,500"
        )
    try:
        return [(f"{key}={value}", key.strip(), parse_yaml(value)) for value in values.split(",")]
    except ConfigError as error:
        raise ConfigError(f"--set {change!r}: invalid value: {error}") from error


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    if sections[:1] in (["input"], ["output"], ["executor"]) or key in ("input", "output", "executor"):
        raise ConfigError(
            f"--set {key}: a preview compares solver options on the same tiles; input, output and executor cannot vary"
        )
    part: Any = document
    for section in sections:
        part = part.get(section) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            raise ConfigError(f"--set {key}: {section!r} is not a section of the configuration")
    part[last] = value
