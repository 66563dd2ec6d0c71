"""The sensor: noise, saturation and impulses, estimated from samples of a channel."""
