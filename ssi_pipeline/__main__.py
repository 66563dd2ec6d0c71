"""``python -m ssi_pipeline``: the command ``ssi``."""

import sys

from ssi_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
