"""Reading the measurement: zarr, OME-Zarr and TIFF."""
