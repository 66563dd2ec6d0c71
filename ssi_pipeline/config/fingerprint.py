"""Digests of JSON documents, and the differences between two of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(document: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON document; the order of keys does not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return short_digest(text.encode())


def short_digest(data: bytes) -> str:
    """Return the first 16 hexadecimal digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def flatten(document: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``{'a.b': 1}`` for ``{'a': {'b': 1}}``; lists are leaves."""
    if not isinstance(document, Mapping) or not document:
        return {prefix: document}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """Return a line ``key: old -> new`` per different leaf; lists of equal length are compared item by item."""
    before, after = flatten(old), flatten(new)
    lines: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key, "(absent)"), after.get(key, "(absent)")
        if was == now and (key in before) == (key in after):
            continue
        if isinstance(was, list) and isinstance(now, list) and len(was) == len(now) > 1:
            lines += [f"{key}[{i}]: {a} -> {b}" for i, (a, b) in enumerate(zip(was, now, strict=True)) if a != b]
        else:
            lines.append(f"{key}: {was} -> {now}")
    return lines
