"""Writing the estimate: the OME-Zarr output, its metadata, and the scratch of tiles."""
