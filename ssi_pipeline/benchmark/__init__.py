"""The published comparison of methods (Kobayashi et al., arXiv 2006.06156), with one command."""
