"""Configuration templates that `ssi init` writes."""

from __future__ import annotations

from importlib.resources import files


def template_text() -> str:
    """Return the YAML text of all options with default, unit and description."""
    return _text("template.yaml")


def first_template_text() -> str:
    """Return the YAML text of the about ten options to set first."""
    return _text("template_first.yaml")


def _text(name: str) -> str:
    return (files("ssi_pipeline.config") / name).read_text(encoding="utf-8")
