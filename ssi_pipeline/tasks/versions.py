"""Refuse tasks in a worker whose versions differ from the client's, as its voxels could differ."""

from __future__ import annotations

from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.storage.state.document import RunDocument
from ssi_pipeline.storage.state.versions import installed_versions, other_computing_versions
from ssi_pipeline.tasks.opening import RunSpec


def refuse_other_versions(document: RunDocument, spec: RunSpec) -> None:
    """Refuse tasks if this package, numpy, scipy or torch has another version than in the client.

    Raises
    ------
    ExecutorError
        A version differs; counts against the machine, not the task.
    """
    expected, found = document.version_sets[spec.versions], installed_versions()
    other = other_computing_versions(expected, found)
    if other:
        differences = "; ".join(f"{name} {found[name]}, in the client {expected.get(name)}" for name in other)
        raise ExecutorError(
            f"the worker has other versions: {differences}; use one environment on all machines "
            "(`ssi cluster check` compares them)"
        )
