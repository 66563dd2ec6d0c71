"""Section of the report: a title and HTML from one template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page; ``name`` is its anchor."""

    name: str
    title: str
    html: Markup


def render(template: str, **values: Any) -> Markup:
    """Render a template of this package; values that are not ``Markup`` are escaped."""
    return Markup(_environment().get_template(f"{template}.html.j2").render(**values))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ssi_pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
