"""Process data that are still being written: time points are added to a run as they become complete."""
