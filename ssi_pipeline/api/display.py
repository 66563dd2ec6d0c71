"""Small tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def rows_html(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows, name and value, as a table."""
    cells = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"
