"""The linear inverse: a Wiener filter, and the choice of its regularisation weight."""
