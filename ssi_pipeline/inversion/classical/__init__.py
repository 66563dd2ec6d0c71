"""Classical solvers: Wiener filter, Richardson-Lucy and total variation, their weight tuned without ground truth.

Import from the modules: all of them import torch, which not every process needs.
"""
