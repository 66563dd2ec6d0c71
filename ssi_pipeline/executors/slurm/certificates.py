"""Create the TLS certificate of a run: only holders of its key can connect to the run's dask cluster."""

from __future__ import annotations

import datetime
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Security

_NAME = "ssi-pipeline run"
_EARLIER, _LIFE = datetime.timedelta(days=2), datetime.timedelta(days=365)
"""Validity starts in the past, as the clock of a node may be late."""


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key, in files readable by this user only."""

    folder: Path

    @staticmethod
    def make(folder: Path) -> Certificate:
        """Create a new certificate, replacing one left by a killed client."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        found = Certificate(folder)
        for path, content in ((found.public, _signed(key)), (found.key, private)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
        return found

    @property
    def public(self) -> Path:
        """The certificate, also used as the CA."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.folder / "key.pem"

    def security(self, quoted: bool = False) -> Security:
        """Return dask's security settings; ``quoted``: for a shell command."""
        public, key = ((shlex.quote(str(p)) if quoted else str(p)) for p in (self.public, self.key))
        return Security(
            require_encryption=True,
            tls_ca_file=public,
            **{f"tls_{role}_cert": public for role in ("scheduler", "worker", "client")},
            **{f"tls_{role}_key": key for role in ("scheduler", "worker", "client")},
        )

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a self-signed certificate of a key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFE)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
