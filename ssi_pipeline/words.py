"""Format durations, sizes and rates as text."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration as text, for instance ``42 s``, ``3 min 10 s`` or ``2 h 5 min``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    if total < 100 * 3600:
        return f"{total // 3600} h {total % 3600 // 60} min"
    return f"{total // 86400} d {total % 86400 // 3600} h"


def size_of(count: int) -> str:
    """Return a number of bytes with a suitable unit."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def per_time(rate: float) -> str:
    """Return a rate with a suitable unit."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.1f} / {unit}"
    return f"{rate * 86400:.1f} / day"
