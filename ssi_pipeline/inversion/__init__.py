"""Self-supervised inversion: masks, networks, the objective, training, and the linear solution.

Import from the modules: most of them bring torch, which not every process needs.
"""
