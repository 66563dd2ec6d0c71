"""A worker that computes with other versions than its client would give other voxels: it takes no task."""

from __future__ import annotations

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.storage.state.document import RunDocument
from ssi_pipeline.storage.state.versions import installed_versions, other_computing_versions
from ssi_pipeline.tasks.context import RunSpec


def refuse_other_versions(document: RunDocument, spec: RunSpec) -> None:
    """Refuse to work where this package, numpy, scipy or torch is of another version than at the client.

    Raises
    ------
    ExecutorError
        One is: the fault of the machine, and not of a task.
    """
    expected, found = document.version_sets[spec.versions], installed_versions()
    other = other_computing_versions(expected, found)
    if other:
        differences = "; ".join(f"{name} {found[name]}, at the client {expected.get(name)}" for name in other)
        raise ExecutorError(
            f"the worker has other versions: {differences}; give all machines one environment "
            "(`ssi cluster check` compares them)"
        )
