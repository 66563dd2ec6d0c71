"""A certificate for one run: who does not hold its key can neither join the run's cluster nor listen to it."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from distributed import Security


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key, as files that this user alone can read."""

    folder: Path

    @staticmethod
    def make(folder: Path) -> Certificate:
        """Make a new one in place of what a killed client may have left."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        made = Security.temporary().get_tls_config_for_role("scheduler")
        found = Certificate(folder)
        for path, text in ((found.public, made["cert"]), (found.key, made["key"])):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(text)
        return found

    @property
    def public(self) -> Path:
        """The certificate, which is its own authority."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.folder / "key.pem"

    def security(self, quoted: bool = False) -> Security:
        """Return what dask takes; ``quoted``: for a line of shell."""
        public, key = ((shlex.quote(str(p)) if quoted else str(p)) for p in (self.public, self.key))
        return Security(
            require_encryption=True,
            tls_ca_file=public,
            **{f"tls_{role}_cert": public for role in ("scheduler", "worker", "client")},
            **{f"tls_{role}_key": key for role in ("scheduler", "worker", "client")},
        )

    def remove(self) -> None:
        """Delete it; nothing that runs any longer needs it."""
        shutil.rmtree(self.folder, ignore_errors=True)
