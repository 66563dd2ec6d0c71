"""The PSF and the forward model g. This package does not import torch; ``physics.forward`` does.

The names below are loaded at their first use: reading the PSF of a run needs none of what computes one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssi_pipeline.physics.psf import Psf
    from ssi_pipeline.physics.psf_loader import load_psf

__all__ = ["Psf", "load_psf"]

_MODULES = {"Psf": "psf", "load_psf": "psf_loader"}


def __getattr__(name: str) -> Any:
    """Return a name of ``__all__`` from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
