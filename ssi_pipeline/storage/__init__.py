"""Reading the input and writing the output: with tasks/, the only place of data IO."""
