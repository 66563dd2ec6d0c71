"""Versions of computing packages: output bytes are equal for equal versions only."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

from ssi_pipeline import __version__

_NAMES = ("numpy", "scipy", "torch", "zarr", "numcodecs", "dask", "distributed", "tifffile")

COMPUTING = ("ssi_pipeline", "numpy", "scipy", "torch")
"""Packages whose versions must match between worker and client: they affect voxel values."""


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    return (
        ("ssi_pipeline", __version__),
        ("python", sys.version.split()[0]),
        *((name, version(name)) for name in _NAMES),
    )


def installed_versions() -> dict[str, str]:
    """Return the versions of this package, Python and the numerical and storage packages, without importing them."""
    return dict(_installed())


def describe_versions(versions: Mapping[str, str]) -> str:
    """Format versions in one line."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def describe_change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describe differences, for instance ``numpy 2.1.0, now 2.2.0``."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}" for name in names)


def other_computing_versions(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names of ``COMPUTING`` whose versions differ; builds of one version (+cpu, +cu126) count as equal."""

    def public(versions: Mapping[str, str], name: str) -> str:
        return versions.get(name, "unknown").partition("+")[0]

    return [name for name in COMPUTING if public(expected, name) != public(found, name)]
