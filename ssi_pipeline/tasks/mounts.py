"""Check after each task that the mounts of its files are still present.

A task that ran without a mount may have read fill values as data, or failed with an unrelated error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import MissingStateError
from ssi_pipeline.storage.mount import Mount
from ssi_pipeline.storage.outputs.output_store import Presence, output_store
from ssi_pipeline.storage.state.records import Kind

_READ_INPUT: tuple[Kind, ...] = ("calibrate", "train", "solve")
_WRITE_OUTPUT: tuple[Kind, ...] = ("stitch", "pyramid")


@dataclass(frozen=True, slots=True)
class Mounts:
    """Mounts of state folder, output and inputs when a worker opened the run; None for a missing one.

    Of an output in an object store, its metadata.
    """

    state: Mount
    output: Presence | None
    inputs: tuple[Mount | None, ...]
    place: Place
    paths: tuple[Path, ...]

    @staticmethod
    def of(state: Path, output: Place, *sources: Path) -> Mounts:
        """Record all mounts; ``sources``: the input and its mask, if on a file system.

        Raises
        ------
        MissingStateError
            The state folder is missing.
        """
        try:
            there = output_store(output).presence()
        except MissingStateError:
            there = None
        return Mounts(Mount.of(state), there, tuple(map(_seen, sources)), output, sources)

    def check(self, kind: Kind) -> None:
        """Check after a task that its mounts are present.

        Raises
        ------
        MissingStateError
            One is missing.
        OSError
            A file system does not answer.
        """
        self.state.check()
        if kind in _WRITE_OUTPUT or self.output is not None:  # a preview has none
            (self.output or output_store(self.place).presence()).check()
        if kind in _READ_INPUT:
            for mount, source in zip(self.inputs, self.paths, strict=True):
                (mount or Mount.of(source)).check()


def _seen(place: Path) -> Mount | None:
    try:
        return Mount.of(place)
    except MissingStateError:
        return None
