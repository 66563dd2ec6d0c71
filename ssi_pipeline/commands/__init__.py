"""The commands of ``ssi``. Each module imports what is heavy inside its functions: `ssi --help` needs none of it."""
