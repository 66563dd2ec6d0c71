"""Repair of damaged or missing files of a run."""
