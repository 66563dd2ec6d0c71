"""What an output says of its making once it is finished: versions, times, commands, commits."""

from __future__ import annotations

from dataclasses import asdict, replace

from ssi_pipeline.results.ledger_summary import Tally
from ssi_pipeline.results.versions import made_by
from ssi_pipeline.storage.outputs.output import add_provenance
from ssi_pipeline.storage.state.calls import as_documents, now, read_calls
from ssi_pipeline.tasks import Context

_MOST_CALLS = 100
"""Calls in an output, the last ones: every program that opens the image reads them. The state folder has all."""


def write_provenance(context: Context, tally: Tally, own: str) -> None:
    """Add to the output which versions solved how many tiles, when it was begun and finished, and by which calls.

    ``own``: identity of this call, which has no end yet, as it goes on for as long as it takes to write that.
    """
    end = now()
    calls = [replace(call, end=end) if call.id == own else call for call in read_calls(context.paths.root)]
    facts = {
        "made_by": [asdict(made) for made in made_by(context.document, tally)],
        "start": calls[0].start if calls else None,
        "end": end,
        "n_calls": len(calls),
        "calls": as_documents(calls[-_MOST_CALLS:]),
    }
    add_provenance(context.document.config.output.path, facts)
