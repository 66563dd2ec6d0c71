"""Compatibility with runs of earlier releases: another format of the identity is not a change of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssi_pipeline.config.fingerprint import short_digest
from ssi_pipeline.config.url import Place, Url


def in_words_of(earlier: dict[str, Any], now: dict[str, Any], root: Place) -> dict[str, Any]:
    """Return ``now`` with digests of metadata files in the format of ``earlier``, if the file is the same.

    The first releases digested the bytes of zarr metadata files, later ones their content.
    Both documents have the identity of an input at ``root`` under ``input``.
    """
    before, after = earlier["input"].get("metadata"), now["input"].get("metadata")
    if isinstance(root, Url) or not isinstance(before, dict) or not isinstance(after, dict):
        return now
    kept = {name: digest for name, digest in before.items() if name in after and digest == _of_bytes(root / name)}
    return {**now, "input": {**now["input"], "metadata": {**after, **kept}}}


def _of_bytes(file: Path) -> str | None:
    try:
        return short_digest(file.read_bytes())
    except OSError:
        return None
