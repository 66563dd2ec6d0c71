"""What it takes to make this output again."""

from __future__ import annotations

import json

import yaml

from ssi_pipeline.redact import redact_all
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.section import Section, render


def provenance_section(facts: RunFacts) -> Section:
    """Fingerprint, versions, identity of the input, seed, and the whole configuration."""
    document = facts.context.document
    config = redact_all(document.config.model_dump(mode="json"))
    configuration = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    rows = [
        ("fingerprint", document.fingerprint),
        ("seed", str(document.config.seed)),
        ("algorithm", str(document.basis.get("algorithm", "unknown"))),
        ("computed on", str(document.compute or "not settled yet")),
        ("PSF digests", ", ".join(str(digest) for digest in document.basis.get("psf", ()))),
        ("versions", ", ".join(f"{name} {version}" for name, version in document.versions.items())),
        ("state folder", str(facts.context.paths.root)),
    ]
    identity = json.dumps(document.basis.get("input", {}), indent=1)
    html = render("provenance", rows=rows, identity=identity, configuration=configuration)
    return Section("provenance", "Provenance", html)
