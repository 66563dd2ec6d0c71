"""Section ``storage``: how object stores and web servers are reached. Credentials come from the environment only."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import field_validator

from ssi_pipeline.config.section import NonNegativeInt, Section, up_to


class StorageConfig(Section):
    """Object stores. Nothing here changes the result, or is part of a run's identity."""

    endpoint: str | None = None
    region: str | None = None
    anonymous: bool = False
    retries: Annotated[NonNegativeInt, up_to(100)] = 5

    @field_validator("endpoint")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = urlsplit(value)
        if found.scheme not in ("http", "https") or not found.netloc:
            raise ValueError("expected the URL of a server, for instance https://minio.example.org:9000")
        if "@" in found.netloc or found.query or found.fragment:
            raise ValueError("expected a URL without user, password and query: credentials belong in the environment")
        return value.rstrip("/")
