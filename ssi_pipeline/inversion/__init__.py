"""Inverse problem of a tile: calibration, forward model, solvers and their assessment.

Import from the modules: most of them import torch, which not every process needs.
"""
