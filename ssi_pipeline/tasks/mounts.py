"""Whether a worker still sees what its tasks read and write: asked after each task, whatever came of it.

A task that ran while a mount was away may have read nothing for data, and its error may be about anything.
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
    """State folder, output and input as they were when a worker opened the run; None where one was not there."""

    state: Mount
    output: Mount | None
    input: Mount | None
    paths: tuple[Path, Path]

    @staticmethod
    def of(state: Path, output: Path, source: Path) -> Mounts:
        """Look at all three.

        Raises
        ------
        MissingStateError
            The state folder is not there.
        """
        return Mounts(Mount.of(state), _seen(output), _seen(source), (output, source))

    def check(self, kind: Kind) -> None:
        """Make sure, after a task, that all that it needs was there.

        Raises
        ------
        MissingStateError
            Something is gone.
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
