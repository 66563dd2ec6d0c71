"""What a site needs before the first run: the job script to read, and a check of everything that may be missing."""
