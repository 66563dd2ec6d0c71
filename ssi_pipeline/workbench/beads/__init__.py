"""Measure a PSF in an image of beads. Arrays are z y x, or y x where the image has one plane."""
