"""A run found by its folders: the configuration that its state folder records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssi_pipeline.config import RunConfig, load_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.storage.state.document import RunDocument, StatePaths

_STATE = ".run"


def load_run(path: Path, changes: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a run by its file, output or state folder; ``changes``: as of ``--set``, for a file.

    Raises
    ------
    ConfigError
        The file is not valid, or options of a run that has begun are to be changed.
    InputError
        The folder is none of a run.
    """
    if not path.is_dir():
        return load_config(path, changes)
    if changes:
        raise ConfigError(f"--set changes a configuration file, but {path} is a folder: its run has its configuration")
    return config_of_folder(path.absolute())


def config_of_folder(folder: Path) -> RunConfig:
    """Return the configuration of a run by its output or state folder, wherever they were moved to.

    Raises
    ------
    InputError
        There is no run.
    """
    for state in (folder, folder.with_name(folder.name + _STATE)):
        if StatePaths(state).document.exists():
            config = RunDocument.load(StatePaths(state).document).config
            beside = state.with_name(state.name.removesuffix(_STATE))
            moved = isinstance(config.output.path, Path) and beside != state and beside.is_dir()
            output = beside if moved else config.output.path
            return config.with_output(output, state)
    raise InputError(
        f"no run found at {folder}: give its configuration, its output with the state folder {folder.name}{_STATE} "
        "beside it, or its state folder"
    )
