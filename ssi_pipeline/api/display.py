"""Small tables for notebooks, with a picture beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from ssi_pipeline.results.finish import METHODS


def rows_html(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows, name and value, as a table."""
    cells = (
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def beside(table: str, picture: str) -> str:
    """Return a table with a picture on its right, below it where the page is narrow."""
    style = "display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start"
    return f'<div style="{style}"><div>{table}</div>{picture}</div>'


def solved_by(metrics: Mapping[str, Any] | Any) -> str:
    """Return the number of tiles that each solver solved, from metrics by name."""
    codes = np.asarray(metrics["method"])
    found, counts = np.unique(codes[np.isfinite(codes)], return_counts=True)
    names = {code: name for name, code in METHODS.items()}
    return ", ".join(f"{names.get(int(code), '?')} {count}" for code, count in zip(found, counts, strict=True))
