"""A run as an array of jobs: each takes a range of tiles, the last one finishes."""
