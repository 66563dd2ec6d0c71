"""Whether this process runs a command of ``ssi`` and nothing else, or belongs to a program that uses the package."""

from __future__ import annotations

_own = False


def claim_process() -> None:
    """Say that this process runs nothing but this package."""
    global _own
    _own = True


def is_own_process() -> bool:
    """Return whether settings of the whole process may be changed."""
    return _own
