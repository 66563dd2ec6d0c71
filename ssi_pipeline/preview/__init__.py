"""Preview: solve a few representative tiles before the long run."""
