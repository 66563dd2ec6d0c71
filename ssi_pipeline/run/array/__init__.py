"""Run as an array of jobs: each part solves a range of tiles, a last call finishes the output."""
