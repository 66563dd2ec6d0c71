"""`ssi` with leases that run out sooner and tiles that take longer, as SSI_NETFS in its environment says.

{"pause": 0.3}    each batch of the serial executor is one tile and takes so many seconds longer
{"stale": 12}     a lease is stale after so many seconds, and renewed six times as often
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ssi_pipeline.cli import main
from ssi_pipeline.executors import serial
from ssi_pipeline.storage.state import lock


def run(arguments: Sequence[str]) -> int:
    """Run the command line."""
    what: dict[str, float] = json.loads(os.environ.get("SSI_NETFS", "{}"))
    if "stale" in what:
        lock.TIMING = replace(lock.TIMING, stale=what["stale"], renew=what["stale"] / 6)
    if "pause" in what:
        real: Any = serial.execute

        def slowly(spec: Any, jobs: Sequence[Any]) -> Any:
            """Take a while for each batch."""
            time.sleep(what["pause"])
            return real(spec, jobs[:1])

        serial.execute = slowly  # type: ignore[assignment]
    return int(main(list(arguments)))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
