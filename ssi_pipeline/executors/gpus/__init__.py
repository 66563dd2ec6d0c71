"""GPUs of one machine: which are visible, and which worker uses which."""
