"""GPUs of one machine: visibility, and assignment to workers."""
