"""Benchmark: the comparison of methods of Kobayashi et al. (arXiv 2006.06156) in one command."""
