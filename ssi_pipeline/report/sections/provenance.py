"""Provenance section: everything needed to reproduce the output."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from ssi_pipeline.redact import redact_all
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.results.versions import MadeBy, made_by
from ssi_pipeline.storage.state.versions import describe_versions


def version_rows(sets: Sequence[MadeBy]) -> list[tuple[str, str]]:
    """Return a row per set of versions, with the number of tiles if there are several."""
    if len(sets) == 1:
        return [("versions", describe_versions(sets[0].versions))]
    return [(f"versions of {made.tiles} tiles", describe_versions(made.versions)) for made in sets]


def provenance_section(facts: RunFacts) -> Section:
    """List fingerprint, versions, identity of the input, seed and configuration."""
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
        ("state folder", str(facts.context.paths.root)),
    ]
    identity = json.dumps(document.basis.get("input", {}), indent=1)
    html = render("provenance", rows=rows, identity=identity, configuration=configuration)
    return Section("provenance", "Provenance", html)
