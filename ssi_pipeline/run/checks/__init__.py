"""Checks of input, output and state before and after a run."""
