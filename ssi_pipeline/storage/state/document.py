"""State folder beside the output: everything needed to resume a run."""

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

ALGORITHM = 15
"""Version of the algorithms, raised when results change for the same configuration; part of the fingerprint."""


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Paths inside the state folder."""

    root: Path

    @property
    def document(self) -> Path:
        """The run's fingerprint, configuration and plan."""
        return self.root / "run.json"

    @property
    def ledger(self) -> Path:
        """Ledger of finished tasks."""
        return self.root / "ledger.jsonl"

    @property
    def lock(self) -> Path:
        """Lock of a running client."""
        return self.root / "lock"

    @property
    def calibration(self) -> Path:
        """Calibration of each channel."""
        return self.root / "calibration.json"

    @property
    def model_list(self) -> Path:
        """Digest of the network of each channel, or null."""
        return self.root / "models.json"

    @property
    def input_stamp(self) -> Path:
        """Digest of the input files' sizes and times that all recorded tasks are based on."""
        return self.root / "input.json"

    @property
    def following(self) -> Path:
        """What a client that follows growing data last saw."""
        return self.root / "following.json"

    @property
    def retrained(self) -> Path:
        """Tiles selected for retraining."""
        return self.root / "retrained.json"

    def scratch(self, fingerprint: str) -> Path:
        """Scratch of tiles waiting for their neighbours; named by fingerprint, so that no other run writes there."""
        return self.root / f"scratch-{fingerprint}.zarr"

    @property
    def models(self) -> Path:
        """Trained networks."""
        return self.root / "models"

    @property
    def log(self) -> Path:
        """Log of the run."""
        return self.root / "run.log"

    @property
    def logs(self) -> Path:
        """Log folder: one file per worker process."""
        return self.root / "logs"

    @property
    def calls(self) -> Path:
        """Calls on the run: times, commands, commits."""
        return self.root / "calls.jsonl"

    @property
    def progress(self) -> Path:
        """Last progress snapshot of the client: rate and remaining time."""
        return self.root / "progress.json"

    @property
    def report(self) -> Path:
        """Default path of the report."""
        return self.root / "report.html"

    def psf(self, channel: int) -> Path:
        """PSF of an output channel."""
        return self.root / f"psf-c{channel}.npy"

    def shared_model(self, channel: int) -> Path:
        """Network shared by all tiles of a channel, or their initial weights."""
        return self.models / f"shared-c{channel}.pt"

    def tile_model(self, tile: int) -> Path:
        """Network of one tile (training.keep_models)."""
        return self.models / f"tiles-{tile // 1000:04d}" / f"tile-{tile}.pt"


@dataclass(frozen=True, slots=True)
class RunDocument:
    """Document of a run: written by the client at each start, read by every worker.

    ``basis``: content of the fingerprint, which is all options that can change a result,
    the input's identity and the PSFs' digests. It contains no paths: data may be moved between calls.
    ``notes``: warnings about the input (see ``Source.notes``).
    ``compute`` is added to the basis at the first start.
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
        """All sets of versions of this run's calls, in order of first use."""
        return (self.versions, *self.later_versions)

    @property
    def fingerprint(self) -> str:
        """Digest of ``basis`` without ``compute``: needed for output and scratch before any worker starts."""
        return digest({key: value for key, value in self.basis.items() if key != "compute"})

    @property
    def first_frames(self) -> int | None:
        """Number of time points that a followed run was calibrated on; None of a run on finished data."""
        found: int | None = self.basis.get("follow", {}).get("frames")
        return found

    @property
    def frames(self) -> int | None:
        """Number of time points of a growing input that the run knows; None of a run on finished data."""
        return None if self.first_frames is None else self.plan.shape[0]

    def with_frames(self, frames: int) -> RunDocument:
        """Return the document of an input that has grown along t."""
        return replace(
            self,
            plan=replace(self.plan, shape=(frames, *self.plan.shape[1:])),
            volume=replace(self.volume, shape=(frames, *self.volume.shape[1:])),
        )

    @property
    def compute(self) -> Compute | None:
        """Device and precision of the run; None before its first start."""
        return compute_of(self.basis)

    def with_compute(self, compute: Compute) -> RunDocument:
        """Return the document with device and precision."""
        return replace(self, basis={**self.basis, "compute": asdict(compute)})

    def settled(self, compute: Compute | None) -> RunDocument:
        """Return the document for workers, with ``auto`` options resolved."""
        compute = compute or self.compute
        if compute is None:
            return self
        device: Literal["cpu", "cuda"] = compute.device if self.config.method.computes else "cpu"  # copying needs none
        return replace(self.with_compute(compute), config=self.config.resolved(device, compute.precision))

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        config = self.config.model_dump(mode="json")
        document = {
            "fingerprint": self.fingerprint,
            "basis": self.basis,
            # workers do not need the address, which may contain passwords
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
        """Read a saved document.

        Raises
        ------
        CorruptDataError
            The file is damaged or of another version.
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
                notes=tuple(map(str, document.get("notes", ()))),  # missing in earlier releases
                later_versions=tuple(document.get("later_versions", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptDataError(
                f"{path} cannot be read as a run of this version ({error}); start over with `ssi run --new`"
            ) from error


def basis_of(
    config: RunConfig,
    identity: dict[str, Any],
    psf_digests: list[str],
    model_digests: list[str],
    calibration_digest: str | None = None,
    frames: int | None = None,
) -> dict[str, Any]:
    """Return everything that can change a result, without executor options, kept files and paths.

    ``frames``: first time points that a followed run is calibrated on.
    """
    content = {key: value for key, value in identity.items() if key != "path"}
    options, given = options_of(config), {} if calibration_digest is None else {"calibration": calibration_digest}
    basis = {"config": options, "input": content, "psf": psf_digests, "start_from": model_digests}
    followed = {} if frames is None else {"follow": {"frames": frames}}
    return {"algorithm": ALGORITHM, **basis, **given, **followed}


def options_of(config: RunConfig) -> dict[str, Any]:
    """Return the options that can change a result."""
    outside: Any = {
        "executor": True,
        "storage": True,
        "follow": True,
        "quality": True,
        "input": {"path", "mask", "images", "share", "scene"},  # the scene is in the identity
        "sensor": {"calibration"},
        "output": {"path", "state", "keep_scratch", "carry"},
        "training": {"start_from", "keep_models"},
    }
    kept = config.model_dump(mode="json", exclude=outside)
    for section in kept["psf"]:
        for one in (section, *(part["psf"] for part in section.get("by", ()))):
            one.pop("path", None)
    return kept


def _plan(document: dict[str, Any]) -> TilePlan:
    values = _with_tuples(document)
    values["bounds"] = Box(**_with_tuples(document["bounds"]))
    return TilePlan(**values)


def _volume(document: dict[str, Any]) -> Volume:
    return Volume(**_with_tuples(document))


def _with_tuples(document: dict[str, Any]) -> dict[str, Any]:
    """Convert lists, as in JSON, to tuples, as in our types."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
