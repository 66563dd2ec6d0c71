"""The commented configuration that `ssi init` writes."""

from __future__ import annotations

from importlib.resources import files


def template_text() -> str:
    """Return the YAML text: every option, its default, its unit, and what it is for."""
    return (files("ssi_pipeline.config") / "template.yaml").read_text(encoding="utf-8")
