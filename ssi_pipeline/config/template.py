"""The commented configurations that `ssi init` writes."""

from __future__ import annotations

from importlib.resources import files


def template_text() -> str:
    """Return the YAML text of all options: each with its default, its unit, and what it is for."""
    return _text("template.yaml")


def first_template_text() -> str:
    """Return the YAML text of the options that are set first, about ten."""
    return _text("template_first.yaml")


def _text(name: str) -> str:
    return (files("ssi_pipeline.config") / name).read_text(encoding="utf-8")
