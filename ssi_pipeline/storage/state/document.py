"""The folder beside the output that holds everything a run needs to be resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ssi_pipeline.config import RunConfig, digest
from ssi_pipeline.errors import CorruptDataError
from ssi_pipeline.geometry import Box, TilePlan, Volume
from ssi_pipeline.redact import redact_all
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.state.compute import Compute, compute_of

ALGORITHM = 4
"""Raised whenever a release computes other values from the same configuration; part of the fingerprint."""


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Where things lie inside the state folder."""

    root: Path

    @property
    def document(self) -> Path:
        """The run's fingerprint, configuration and plan."""
        return self.root / "run.json"

    @property
    def ledger(self) -> Path:
        """What is done."""
        return self.root / "ledger.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a client runs."""
        return self.root / "lock"

    @property
    def calibration(self) -> Path:
        """Statistics of each channel."""
        return self.root / "calibration.json"

    @property
    def model_list(self) -> Path:
        """Digest of the network of each channel, null where there is none."""
        return self.root / "models.json"

    @property
    def input_stamp(self) -> Path:
        """Sizes and times of the input's files, as one digest, that all that is recorded was made from."""
        return self.root / "input.json"

    @property
    def retrained(self) -> Path:
        """The tiles that are trained once more, once they are chosen."""
        return self.root / "retrained.json"

    def scratch(self, fingerprint: str) -> Path:
        """Tiles waiting for their neighbours; no other run can write there by mistake."""
        return self.root / f"scratch-{fingerprint}.zarr"

    @property
    def models(self) -> Path:
        """Trained networks that are kept."""
        return self.root / "models"

    @property
    def log(self) -> Path:
        """Plain lines about the run's progress."""
        return self.root / "run.log"

    @property
    def logs(self) -> Path:
        """Lines of each worker process, in a file of its own."""
        return self.root / "logs"

    @property
    def progress(self) -> Path:
        """The client's last words on rate and time left."""
        return self.root / "progress.json"

    @property
    def report(self) -> Path:
        """The report, unless the user names another place."""
        return self.root / "report.html"

    def psf(self, channel: int) -> Path:
        """The PSF in use for a channel of the output."""
        return self.root / f"psf-c{channel}.npy"

    def shared_model(self, channel: int) -> Path:
        """The network that all tiles of a channel share, or start from."""
        return self.models / f"shared-c{channel}.pt"

    def tile_model(self, tile: int) -> Path:
        """The network of one tile, kept when asked for."""
        return self.models / f"tiles-{tile // 1000:04d}" / f"tile-{tile}.pt"


@dataclass(frozen=True, slots=True)
class RunDocument:
    """What a run is: written by the client at each start, read by every worker.

    ``basis`` is what the fingerprint is made of: all of the configuration that can change a result,
    the input's identity and the PSFs' digests. Paths are not in it: data may be moved between calls.
    ``notes``: what the user must know of the input (see ``Source.notes``).
    ``compute`` joins it when the first start has settled what the run is computed on.
    """

    basis: dict[str, Any]
    config: RunConfig
    plan: TilePlan
    volume: Volume
    image_metadata: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    later_versions: tuple[dict[str, str], ...] = ()

    @property
    def version_sets(self) -> tuple[dict[str, str], ...]:
        """All sets of versions that calls of this run had, in the order of the first call of each."""
        return (self.versions, *self.later_versions)

    @property
    def fingerprint(self) -> str:
        """Digest of ``basis``, without ``compute``: output and scratch bear it before any worker is there."""
        return digest({key: value for key, value in self.basis.items() if key != "compute"})

    @property
    def compute(self) -> Compute | None:
        """What the run is computed on; None before its first start has settled that."""
        return compute_of(self.basis)

    def with_compute(self, compute: Compute) -> RunDocument:
        """Return the document of a run for which it is settled."""
        return replace(self, basis={**self.basis, "compute": asdict(compute)})

    def settled(self, compute: Compute | None) -> RunDocument:
        """Return the document as a worker reads it: nothing in its configuration is left for the worker to find out."""
        compute = compute or self.compute
        if compute is None:
            return self
        device: Literal["cpu", "cuda"] = compute.device if self.config.method.computes else "cpu"  # a copy needs none
        return replace(self.with_compute(compute), config=self.config.resolved(device, compute.precision))

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        config = self.config.model_dump(mode="json")
        document = {
            "fingerprint": self.fingerprint,
            "basis": self.basis,
            # no worker asks how its client reached it, and addresses may hold passwords
            "config": {**config, "executor": redact_all(config["executor"])},
            "plan": asdict(self.plan),
            "volume": asdict(self.volume),
            "image_metadata": self.image_metadata,
            "versions": self.versions,
            "notes": self.notes,
            "later_versions": self.later_versions,
        }
        write_json(path, document)

    @staticmethod
    def load(path: Path) -> RunDocument:
        """Read what ``save`` wrote.

        Raises
        ------
        CorruptDataError
            The file is not what this version of the package writes.
        """
        try:
            document = read_json(path)
            compute_of(document["basis"])
            return RunDocument(
                basis=document["basis"],
                config=RunConfig.model_validate(document["config"]),
                plan=_plan(document["plan"]),
                volume=_volume(document["volume"]),
                image_metadata=document["image_metadata"],
                versions=document["versions"],
                notes=tuple(map(str, document.get("notes", ()))),  # earlier releases wrote none
                later_versions=tuple(document.get("later_versions", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptDataError(
                f"{path} cannot be read as a run of this version ({error}); start over with `ssi run --new`"
            ) from error


def basis_of(
    config: RunConfig, identity: dict[str, Any], psf_digests: list[str], model_digests: list[str]
) -> dict[str, Any]:
    """Return everything that can change a result; where the work is done, what is kept and where it is put cannot."""
    outside: Any = {
        "executor": True,
        "quality": True,
        "output": {"path", "state", "keep_scratch"},
        "training": {"start_from", "keep_models"},
    }
    kept = config.model_dump(mode="json", exclude=outside)
    kept["input"].pop("path")
    for section in kept["psf"]:
        section.pop("path", None)
    content = {key: value for key, value in identity.items() if key != "path"}
    return {"algorithm": ALGORITHM, "config": kept, "input": content, "psf": psf_digests, "start_from": model_digests}


def _plan(document: dict[str, Any]) -> TilePlan:
    values = _with_tuples(document)
    values["bounds"] = Box(**_with_tuples(document["bounds"]))
    return TilePlan(**values)


def _volume(document: dict[str, Any]) -> Volume:
    return Volume(**_with_tuples(document))


def _with_tuples(document: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only, our types are tuples throughout."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
