"""Solvers that need no training: Wiener, Richardson-Lucy and total variation, with their weight chosen without truth.

Import from the modules: all of them bring torch, which not every process needs.
"""
