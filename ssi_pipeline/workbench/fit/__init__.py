"""The PSF from the data: optical parameters that the power spectrum of the image can tell."""
