"""Prepare a SLURM site for the first run: print the job script, and check the site."""
