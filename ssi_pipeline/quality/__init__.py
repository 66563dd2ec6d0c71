"""Quality metrics of an estimate, with and without ground truth, and alarms on them."""
