"""Check after each task that the mounts of its files are still present.

A task that ran without a mount may have read fill values as data, or failed with an unrelated error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssi_pipeline.errors import MissingStateError
from ssi_pipeline.storage.mount import Mount
from ssi_pipeline.storage.state.records import Kind

_READ_INPUT: tuple[Kind, ...] = ("calibrate", "train", "solve")
_WRITE_OUTPUT: tuple[Kind, ...] = ("stitch", "pyramid")


@dataclass(frozen=True, slots=True)
class Mounts:
    """Mounts of state folder, output and input when a worker opened the run; None for a missing one."""

    state: Mount
    output: Mount | None
    input: Mount | None
    paths: tuple[Path, Path]

    @staticmethod
    def of(state: Path, output: Path, source: Path) -> Mounts:
        """Record all three mounts.

        Raises
        ------
        MissingStateError
            The state folder is missing.
        """
        return Mounts(Mount.of(state), _seen(output), _seen(source), (output, source))

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
        output, source = self.paths
        if kind in _WRITE_OUTPUT or self.output is not None:  # a preview has none
            (self.output or Mount.of(output)).check()
        if kind in _READ_INPUT:
            (self.input or Mount.of(source)).check()


def _seen(place: Path) -> Mount | None:
    try:
        return Mount.of(place)
    except MissingStateError:
        return None
