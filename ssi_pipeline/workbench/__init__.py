"""PSF workbench: `ssi psf make`, `show` and `beads`."""
