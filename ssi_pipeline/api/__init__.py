"""Python API: what ``import ssi_pipeline`` offers, loaded when it is first used."""
