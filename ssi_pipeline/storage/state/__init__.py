"""State folder of a run: document, ledger, locks and markers."""
