"""Estimate the sensor of a channel from samples: noise, limits and impulses."""
