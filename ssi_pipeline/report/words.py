"""Formatting of numbers, sizes, dates and percentages."""

from __future__ import annotations

import time

from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.words import duration


def number(value: float) -> str:
    """Return about four significant digits; integers in full, with narrow no-break spaces between thousands."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def scaled(value: float, unit: str) -> str:
    """Return a value with a decimal prefix, for instance ``2.3 MB``."""
    prefixes = ["", "k", "M", "G", "T", "P"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop(0)
    return f"{value:.3g} {prefixes[0]}{unit}"


def seconds(value: float) -> str:
    """Format a duration; short ones with decimals."""
    return f"{value:.2g} s" if value < 10 else duration(value)


def share(part: float, whole: float) -> str:
    """Format a percentage that is 0 or 100 only if exact."""
    if not whole or part in (0, whole):
        return "100 %" if whole and part else "0 %"
    return f"{min(max(100 * part / whole, 0.01), 99.99):.3g} %"


def date(value: float) -> str:
    """Return local date and time of seconds since 1970, with the time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(value)).strip()


def place(position: tuple[int, ...] | list[int]) -> str:
    """Return for instance ``t 0, c 1, z 4, y 0, x 2``."""
    return ", ".join(f"{axis} {p}" for axis, p in zip(AXES, position, strict=True))


def sizes(values: tuple[int, ...]) -> str:
    """Return for instance ``40 × 201 × 101``."""
    return " × ".join(map(str, values))
