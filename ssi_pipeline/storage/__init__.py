"""Reading the measurement and writing the estimate: the only place, with the tasks, where IO happens."""
