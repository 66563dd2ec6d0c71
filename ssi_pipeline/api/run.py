"""Plan, preview, run and open a run from Python: what the commands of the same names do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssi_pipeline.api.arguments import nested
from ssi_pipeline.api.display import rows_html
from ssi_pipeline.api.opened_run import Run, named, open_run
from ssi_pipeline.api.progress import ProgressArgument, listening
from ssi_pipeline.api.psfs import psf_document
from ssi_pipeline.config import RunConfig, load_config, parse_config
from ssi_pipeline.config.changes import Change
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.geometry import Cost, TilePlan
from ssi_pipeline.preview.variants import make_variants
from ssi_pipeline.run.driver import run as drive
from ssi_pipeline.run.planning import TimeEstimate, checked_plan, describe_plan
from ssi_pipeline.run.prepare import Prepared
from ssi_pipeline.run.session import Caller

Configuration = RunConfig | Mapping[str, Any] | str | PathLike[str]

_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """The plan of a run: its tiles, its cost, and the rows that ``ssi plan`` prints."""

    tiles: TilePlan
    cost: Cost
    workers: int
    time: TimeEstimate | None
    rows: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.rows)

    def _repr_html_(self) -> str:
        return rows_html(self.rows)


def as_config(config: Configuration) -> RunConfig:
    """Return a configuration from a file, or from a dictionary, nested or with dotted names.

    Raises
    ------
    ConfigError
        It is not valid.
    """
    if isinstance(config, RunConfig):
        return config
    if not isinstance(config, Mapping):
        return load_config(Path(config))
    return parse_config(nested({**config, **_psf_sections(config.get("psf"))}))


def _psf_sections(psf: Any) -> dict[str, Any]:
    """Return the sections of PSFs that are given as models or files; nothing where they are plain sections.

    Raises
    ------
    ConfigError
        One is in memory, or a number.
    """
    if psf is None or isinstance(psf, Mapping):
        return {}
    items = psf if isinstance(psf, list) else [psf]
    if not all(isinstance(item, Mapping | BaseModel | str | PathLike) for item in items):
        raise ConfigError(
            "psf is in memory, or a number: expected ssi.psf.gaussian(...) and the like, the path of a file, a section "
            "of a configuration, or a list of these; np.save writes an array, and ssi.deconvolve takes one"
        )
    return {"psf": psf_document(items, in_um=False)[0]}


def plan(config: Configuration, pilot: int | None = None) -> Plan:
    """Plan a run without starting it; ``pilot``: number of tiles solved to measure the time.

    Raises
    ------
    SsiError
        The run could not start.
    """
    found: list[Plan] = []

    def take(prepared: Prepared, time: TimeEstimate | None) -> None:
        """Keep what the plan says."""
        rows = tuple(describe_plan(prepared, time))
        found.append(Plan(prepared.document.plan, prepared.cost, prepared.workers, time, rows))

    checked_plan(as_config(config), pilot, take)
    return found[0]


def preview(
    config: Configuration,
    tiles: int = 6,
    psfs: Sequence[str | PathLike[str]] = (),
    options: Mapping[str, Sequence[Any]] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Any:
    """Solve a few representative tiles as the run would; return them, the plan and a comparison.

    Parameters
    ----------
    config
        Of the run, which is neither started nor changed.
    tiles
        Number of tiles.
    psfs
        PSF files to compare.
    options
        Values to compare, by dotted name: ``{"training.steps": [100, 500]}``.
    log
        Receives a line for each tile.

    Raises
    ------
    ConfigError
        The number of tiles or a variant is invalid.
    SsiError
        A tile fails.
    """
    from ssi_pipeline.preview.compare import solve_preview  # imports torch

    if tiles < 1:
        raise ConfigError(f"tiles is {tiles}: expected 1 or more")
    changes = [Change(key, key, tuple(map(json.dumps, values))) for key, values in (options or {}).items()]
    return solve_preview(make_variants(as_config(config), list(map(Path, psfs)), changes), tiles, log)


def run(
    config: Configuration,
    client: Any = None,
    progress: ProgressArgument = None,
    *,
    new: bool = False,
    retry_failed: bool = False,
    ignore_disk: bool = False,
) -> Run:
    """Start or resume a run, wait for its end, and return it.

    Parameters
    ----------
    config
        A file, a dictionary or a ``RunConfig``.
    client
        Your own dask client: its workers run the tasks, and it stays open. They need to see the same files.
    progress
        Called with stage, done, total, failed, rate and time left as these change; False: nothing is shown; None or
        True: as ``ssi run`` shows it, with a bar in a notebook.
    new, retry_failed, ignore_disk
        As the options of ``ssi run``.

    Raises
    ------
    SsiError
        The run cannot start or continue; finished tiles stay recorded, and the same call resumes. Failed tiles raise
        nothing: see ``Run.status``.
    """
    found = as_config(config)
    if client is not None:
        found = _on_client(found, client)
    shown = progress is None or progress is True
    log = print if shown else (lambda _: None)
    with listening(progress, outside_notebooks=False) as listener:
        caller = Caller(client, listener, 0 if shown else -1)
        drive(found, new, retry_failed, ignore_disk, log, named(found.file), caller=caller)
    return open_run(found)


def _on_client(config: RunConfig, client: Any) -> RunConfig:
    """Return the configuration with the workers of a client, and the memory of one unless it was given."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    shares = [worker["memory_limit"] / worker["nthreads"] / _GIB for worker in workers if worker["memory_limit"]]
    address = client.scheduler.address
    given: dict[str, Any] = {"kind": "dask", "address": address, "allow_unencrypted": True, "gpus": None}
    if config.executor.memory_gib is None and shares:
        given["memory_gib"] = min(shares)
    slots = max(1, sum(worker["nthreads"] for worker in workers))
    return config.with_executor(**given, workers=slots, workers_per_gpu=1)
