"""The embedded example: a volume whose truth is known, solved by the pipeline and compared."""
