"""The trained inverse: network, loss, training loop and checkpoints."""
