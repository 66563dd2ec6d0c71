"""Look at a run in napari or neuroglancer; the plugin of napari is described in ``napari.yaml``.

Importing these modules loads neither napari, Qt nor torch: what is shown is made of plain arrays that read when indexed.
"""
