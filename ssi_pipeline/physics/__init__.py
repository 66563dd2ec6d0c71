"""The PSF and the forward model g. This package does not import torch; ``physics.forward`` does."""

from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.physics.psf_loader import load_psf

__all__ = ["Psf", "load_psf"]
