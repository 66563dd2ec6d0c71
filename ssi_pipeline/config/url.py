"""URL of an image in an object store or on a web server, in place of a path in the configuration.

Only names are handled here: reading is in ``storage/store.py``. Credentials are never part of a URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.redact import redact

SCHEMES = ("s3", "gs", "az", "http", "https")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Also with one slash, as libraries of paths leave it: no folder is meant."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}


_USUAL = StorageConfig()


@dataclass(frozen=True, slots=True)
class Url:
    """A folder or object: ``root`` is scheme and bucket (or host), ``parts`` the names below it.

    Joins names as a ``Path`` does. Names are literal: on web servers they are percent-encoded in requests only.
    ``storage``: how the store is reached; part of the identity, since one name may exist on two endpoints.
    """

    root: str
    parts: tuple[str, ...]
    storage: StorageConfig = _USUAL

    @property
    def scheme(self) -> str:
        """One of ``SCHEMES``."""
        return self.root.partition(":")[0]

    @property
    def key(self) -> str:
        """Names below the bucket or host, joined."""
        return "/".join(self.parts)

    @property
    def name(self) -> str:
        """The last name; empty for a bucket or host."""
        return self.parts[-1] if self.parts else ""

    @property
    def stem(self) -> str:
        """The last name without its ending."""
        return Path(self.name).stem

    @property
    def parent(self) -> Url:
        """The folder above; of a bucket or host itself."""
        return Url(self.root, self.parts[:-1], self.storage)

    def with_name(self, name: str) -> Url:
        """Return the place of another name in the same folder."""
        return self.parent / name

    @property
    def parents(self) -> tuple[Url, ...]:
        """The folders above, nearest first, up to the bucket or host."""
        return tuple(Url(self.root, self.parts[:n], self.storage) for n in reversed(range(len(self.parts))))

    def __truediv__(self, names: object) -> Url:
        more = tuple(part for part in str(names).split("/") if part not in ("", "."))
        return Url(self.root, self.parts + more, self.storage)

    def __str__(self) -> str:
        return "/".join([self.root, *self.parts])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a URL, or its text."""
        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a pattern of the schemes."""
        return {"type": "string", "pattern": rf"^({'|'.join(SCHEMES)})://[^/?#@\s]+"}


Place = Path | Url
"""Where an image is: on a file system, or in a store."""

PlaceField = Annotated[Url | Path, Field(union_mode="left_to_right")]
"""A place as an option."""


def is_address(text: str) -> bool:
    """Tell whether a text is a URL rather than a path."""
    return _ADDRESS.match(text) is not None


def parse_url(text: str, storage: StorageConfig | None = None) -> Place:
    """Return the place that a URL names; ``file://`` is a path.

    Raises
    ------
    ValueError
        It has credentials, a query or an unknown scheme. The message continues "... is URL, " and shows no secret.
    """
    found = urlsplit(text)
    scheme = found.scheme.lower()
    known = _CREDENTIALS.get(scheme)
    if "@" in found.netloc or found.query or found.fragment:
        means = (
            f"expected the plain URL, with credentials in the environment ({known})"
            if known
            else ("expected a URL without user, query and fragment: download what needs them")
        )
        raise ValueError(f"a URL with credentials or a query: {means}")
    if scheme == "file":
        if found.netloc not in ("", "localhost"):
            raise ValueError(f"a URL of the machine {found.netloc}: expected file:///folder/image.zarr, of this one")
        return Path(unquote(found.path))
    if scheme not in SCHEMES or not found.netloc:
        schemes = ", ".join(f"{name}://" for name in (*SCHEMES, "file"))
        raise ValueError(f"a URL that is not supported: expected {schemes} with a bucket or host, or a path")
    path = unquote(found.path) if scheme.startswith("http") else text.partition("://")[2].partition("/")[2]
    parts = tuple(part for part in path.split("/") if part)
    if {".", ".."} & set(parts):
        raise ValueError("a URL with . or .. in it: expected the names of folders")
    return Url(f"{scheme}://{found.netloc}", parts, storage or _USUAL)


def place_of(text: str) -> Place:
    """Return the place that an argument of a command names.

    Raises
    ------
    ValueError
        It is a URL that is not supported; the message shows no secret.
    """
    if not is_address(text):
        return Path(text)
    try:
        return parse_url(text)
    except ValueError as error:
        raise ValueError(f"{redact(text)!r} is {error}") from None


def _validated(value: Any) -> Url:
    if isinstance(value, Url):
        return value
    found = parse_url(value) if isinstance(value, str) and is_address(value) else None
    if not isinstance(found, Url):
        raise ValueError("no URL")
    return found
