"""The trained inverse: architecture, loss, training loop and checkpoints."""
