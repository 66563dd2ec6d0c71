"""Look at a run in napari or neuroglancer; the plugin of napari is described in ``napari.yaml``.

Importing these modules loads neither napari, Qt nor torch: layers are plain arrays that read where they are indexed.
"""
