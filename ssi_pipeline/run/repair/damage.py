"""List damaged files of a run other than its image; changes nothing, the next ``ssi run`` repairs them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssi_pipeline.errors import SsiError
from ssi_pipeline.results.finish import tile_metrics
from ssi_pipeline.results.quality_check import quality_problem
from ssi_pipeline.run.create import output_metadata
from ssi_pipeline.run.repair.output_repair import damaged_metadata, look_at_output
from ssi_pipeline.run.repair.state_repair import state_flaws
from ssi_pipeline.storage.outputs.output import read_status
from ssi_pipeline.storage.state.ledger import LedgerState
from ssi_pipeline.tasks import Context


def metadata_damage(context: Context) -> list[str]:
    """Return the problems of the output's metadata, without which its blocks cannot be read."""
    output = context.document.config.output.path
    if look_at_output(output, context.arrays) not in ("ours", "damaged"):
        return []
    found = damaged_metadata(output, output_metadata(context))
    return [f"{output / name} is {problem}" for name, problem in found.items()]


def other_damage(
    context: Context, state: LedgerState, metrics: Mapping[str, NDArray[np.float32]] | None = None
) -> list[str]:
    """Return the problems of the ledger, the small files of the state folder, and the metrics in the output.

    ``metrics``: the metrics according to the ledger, if known.
    """
    found = [*map(str, state.unreadable), *map(str, state_flaws(context))]
    if state.nothing_to_do and read_status(context.document.config.output.path) == "complete":
        problem = quality_problem(context, metrics)
        found += [problem] if problem is not None else []
    return found


def ledger_metrics(context: Context) -> dict[str, NDArray[np.float32]] | None:
    """Return the metrics according to the ledger, None where they cannot be computed."""
    try:
        return tile_metrics(context)
    except SsiError:
        return None
