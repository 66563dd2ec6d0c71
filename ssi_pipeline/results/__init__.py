"""What a run has done, read from its ledger and output: status, failures, metrics, export."""
