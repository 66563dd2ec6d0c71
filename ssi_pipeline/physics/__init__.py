"""The PSF and the forward model g. This package does not import torch; ``physics.forward`` does.

The names below are loaded at their first use: reading the PSF of a run needs none of what computes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssi_pipeline.lazy import lazily

if TYPE_CHECKING:
    from ssi_pipeline.physics.psf import Psf
    from ssi_pipeline.physics.psf_loader import load_psf

__all__ = ["Psf", "load_psf"]

__getattr__ = lazily(__name__, {"Psf": "psf", "load_psf": "psf_loader"})
