"""The published recipe (Kobayashi et al., arXiv 2006.06156), as a baseline."""
