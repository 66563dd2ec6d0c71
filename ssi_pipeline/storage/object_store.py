"""Object stores and web servers behind the protocol ``Store``, by obstore.

Credentials are those of the environment, as obstore finds them. Failed requests are repeated (``storage.retries``,
exponential backoff); what still fails is a ``StoreError``, which is a failure of the machine and not of a task's data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.config.url import Url
from ssi_pipeline.errors import MissingPackageError, how_to_install
from ssi_pipeline.storage.entry import Entry
from ssi_pipeline.storage.object_errors import translated

if TYPE_CHECKING:
    from zarr.storage import StoreLike

_PATIENCE_S = 120
"""Seconds after which a request is not repeated any more, and after which one without an answer is given up. Below the
five minutes after which signatures expire."""


_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
"""Where obstore looks for the URL of another server: one of http:// says that requests may be unencrypted."""


Version = dict[str, str]
"""ETag of an object (S3, Azure) and number of its generation (Google), as conditions of a write name them."""


@dataclass(frozen=True)
class ObjectStore:
    """A folder in an object store; ``client``: obstore's store of its bucket or host."""

    place: Url
    client: Any = field(repr=False, compare=False)

    @property
    def lists(self) -> bool:
        """Whether the objects can be listed."""
        return not self.place.scheme.startswith("http")

    def read(self, key: str) -> bytes:
        """Return an object's content: one request."""
        with translated(self.place / key):
            return bytes(self.client.get((self.place / key).key).bytes())

    def look(self, key: str) -> Entry | None:
        """Return size and ETag of an object: one request."""
        try:
            with translated(self.place / key):
                found = self.client.head((self.place / key).key)
        except FileNotFoundError:
            return None
        return _entry(key, found)

    def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        return self.look(key) is not None

    def list(self, below: str = "") -> Iterator[Entry]:
        """Yield the objects below a folder; one request for each thousand, made as they are needed."""
        start = f"{self.place.key}/" if self.place.parts else ""
        with translated(self.place / below):
            for part in self.client.list((self.place / below).key or None):
                for found in part:
                    yield _entry(found["path"].removeprefix(start), found)

    def names(self) -> frozenset[str]:
        """Return the names of objects and folders: one request for each thousand."""
        start = f"{self.place.key}/" if self.place.parts else ""
        try:
            with translated(self.place):
                found = self.client.list_with_delimiter(self.place.key or None)
        except FileNotFoundError:  # there is no such bucket
            return frozenset()
        keys = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return frozenset(key.removeprefix(start).rstrip("/") for key in keys)

    def write(self, key: str, content: bytes) -> None:
        """Write an object: one request, which replaces it or does not."""
        with translated(self.place / key):
            self.client.put((self.place / key).key, content, use_multipart=False)

    def read_versioned(self, key: str) -> tuple[bytes, Version]:
        """Return an object's content and its version: one request."""
        with translated(self.place / key):
            found = self.client.get((self.place / key).key)
            known = {name: found.meta.get(name) for name in ("e_tag", "version")}
            return bytes(found.bytes()), {name: value for name, value in known.items() if value}

    def replace(self, key: str, content: bytes, version: Version) -> bool:
        """Write an object on the condition that its version is still this one (``If-Match``); tell whether it was.

        A repeated request may find what its first try has written: so the contents are compared, and must be new ones.
        """
        from obstore.exceptions import PreconditionError

        try:
            with translated(self.place / key):
                self.client.put((self.place / key).key, content, mode=version, use_multipart=False)
        except (PreconditionError, FileNotFoundError):
            return self._is(key, content)
        return True

    def _is(self, key: str, content: bytes) -> bool:
        try:
            return self.read(key) == content
        except FileNotFoundError:
            return False

    def create(self, key: str, content: bytes) -> bool:
        """Write an object on the condition that there is none (``If-None-Match: *``).

        A repeated request may find the object that its first try has written: so the contents are compared.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            with translated(self.place / key):
                self.client.put((self.place / key).key, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return self._is(key, content)
        return True

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        try:
            with translated(self.place / key):
                self.client.delete((self.place / key).key)
        except FileNotFoundError:  # Google and Azure say so, S3 does not
            return

    def zarr(self, below: str = "", *, writable: bool = False) -> StoreLike:
        """Return a store that raises where the object store does not answer, and where an object is empty."""
        from zarr.storage import StorePath

        from ssi_pipeline.storage.object_zarr import ObjectZarr

        folder = self.place / below
        return StorePath(ObjectZarr(self.client, folder, read_only=not writable), folder.key)


def _entry(key: str, found: Any) -> Entry:
    """Return what a store tells of an object; web servers may tell neither ETag nor time."""
    changed = found["last_modified"].timestamp()
    return Entry(key, found["size"], _quoted(found.get("e_tag") or ""), str(changed or ""))


def _quoted(etag: str) -> str:
    """Return an ETag as answers to single requests have it: Azure's lists leave the quotes out."""
    return f'"{etag}"' if etag and not etag.endswith('"') else etag


def open_object_store(place: Url, patience: int = _PATIENCE_S) -> ObjectStore:
    """Return the store of a folder; the client of a bucket is shared by the process.

    ``patience``: seconds after which a request is not repeated, and after which one without an answer is given up.

    Raises
    ------
    MissingPackageError
        obstore is not installed.
    """
    return ObjectStore(place, _client(place.root, place.storage, patience))


@lru_cache(maxsize=64)
def _client(root: str, storage: StorageConfig, patience: int) -> Any:
    try:
        from obstore import store
    except ImportError as error:
        raise MissingPackageError(
            f"{root}: reading URLs needs obstore: {how_to_install('obstore', 'cloud')}"
        ) from error
    scheme, _, host = root.partition("://")
    plain = scheme == "http" or _endpoint(scheme, storage).startswith("http://")
    common: dict[str, Any] = {
        "client_options": {"timeout": f"{patience}s", **({"allow_http": True} if plain else {})},
        "retry_config": {"max_retries": storage.retries, "retry_timeout": timedelta(seconds=patience)},
    }
    with translated(Url(root, (), storage)):
        if scheme in ("http", "https"):
            return store.HTTPStore.from_url(f"{scheme}://{quote(host, safe=':[].')}", **common)
        named: dict[str, Any] = {
            "base_url" if scheme == "gs" else "endpoint": storage.endpoint,
            "region": storage.region if scheme == "s3" else None,
            "skip_signature": True if storage.anonymous else None,
        }
        config = {name: value for name, value in named.items() if value is not None}
        kind = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[scheme]
        return kind(host, config=config, **common)


def _endpoint(scheme: str, storage: StorageConfig) -> str:
    """Return the URL of the server; empty for that of the provider, and for web servers."""
    if scheme not in _ENDPOINTS:
        return ""
    return storage.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), "")
