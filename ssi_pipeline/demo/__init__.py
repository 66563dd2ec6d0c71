"""Embedded example: a volume with known ground truth, solved by the pipeline and compared."""
