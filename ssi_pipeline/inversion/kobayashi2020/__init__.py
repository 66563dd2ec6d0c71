"""The published method (Kobayashi et al., arXiv 2006.06156) by its own recipe, as a baseline."""
