"""Validation of TIFF files, shared by the readers of images and PSFs."""
