"""Provenance section: everything needed to reproduce the output."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from ssi_pipeline.redact import redact_all
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.results.versions import MadeBy, made_by
from ssi_pipeline.storage.state.calls import Call, read_calls
from ssi_pipeline.storage.state.versions import describe_versions

_MOST_CALLS = 10


def version_rows(sets: Sequence[MadeBy]) -> list[tuple[str, str]]:
    """Return a row per set of versions, with the number of tiles if there are several."""
    if len(sets) == 1:
        return [("versions", describe_versions(sets[0].versions))]
    return [(f"versions of {made.tiles} tiles", describe_versions(made.versions)) for made in sets]


def call_rows(calls: Sequence[Call]) -> list[tuple[str, str]]:
    """Return a row for each of the last calls: when, how it ended, its command and commit."""
    rows = []
    for call in calls[-_MOST_CALLS:]:
        ended = f"to {call.end}, {call.result}" if call.end else "without an end: running, or killed"
        source = f" (commit {call.commit})" if call.commit else ""
        rows.append(("call", f"{call.start} {ended}: {call.command}{source}"))
    left = len(calls) - len(rows)
    return [("earlier calls", str(left)), *rows] if left else rows


def provenance_section(facts: RunFacts) -> Section:
    """List fingerprint, versions, calls, identity of the input, seed and configuration."""
    document = facts.context.document
    config = redact_all(document.config.model_dump(mode="json"))
    configuration = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    rows = [
        ("fingerprint", document.fingerprint),
        ("seed", str(document.config.seed)),
        ("algorithm", str(document.basis.get("algorithm", "unknown"))),
        ("computed on", str(document.compute or "not determined yet")),
        ("PSF digests", ", ".join(str(digest) for digest in document.basis.get("psf", ()))),
        *version_rows(made_by(document, facts.tally)),
        *call_rows(read_calls(facts.context.paths.root)),
        ("state folder", str(facts.context.paths.root)),
    ]
    identity = json.dumps(document.basis.get("input", {}), indent=1)
    html = render("provenance", rows=rows, identity=identity, configuration=configuration)
    return Section("provenance", "Provenance", html)
