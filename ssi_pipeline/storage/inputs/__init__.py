"""Reading the input: zarr, OME-Zarr and TIFF."""
