"""Read a run configuration from YAML."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ssi_pipeline.config.changes import with_changes
from ssi_pipeline.config.explain import explain
from ssi_pipeline.config.model import RunConfig
from ssi_pipeline.config.plain_values import refuse_strange_values
from ssi_pipeline.config.slurm import SlurmConfig
from ssi_pipeline.config.url import Place, Url, is_address, parse_url
from ssi_pipeline.config.yaml_text import read_yaml
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.redact import redact

_PATHS = (
    ("input", "path"),
    ("input", "mask"),
    ("output", "path"),
    ("output", "state"),
    ("sensor", "calibration"),
    ("training", "start_from"),
    ("executor", "profile"),
    ("follow", "stop_file"),
)
_IMAGES = (".tif", ".tiff", ".zarr")
_BY_URL = ("input.path", "input.mask", "output.path")
"""Options that may be a URL."""


def load_config(path: Path | str, changes: Sequence[str] = ()) -> RunConfig:
    """Load a YAML file; relative paths in it are relative to the file's folder.

    ``changes``: ``key=value`` in place of what the file says; relative paths are relative to the working directory.

    Raises
    ------
    ConfigError
        The file is missing, not a YAML mapping, or not a valid configuration.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        found = "a folder" if path.is_dir() else "not a regular file"
        raise ConfigError(f"configuration {path} is {found}: expected a YAML file{_hint_for_image(path)}")
    if not path.is_file():
        hint = _hint_for_image(path) or f"; `ssi init {path}` writes a template"
        raise ConfigError(f"configuration {path} not found{hint}")
    if hint := _hint_for_image(path):
        raise ConfigError(f"{path} is no configuration{hint}")
    document, name = read_yaml(path), " ".join([str(path), *(f"--set {change}" for change in changes)])
    if changes and isinstance(document, dict):
        document = with_changes(document, changes, lambda part: _resolve_paths(part, Path.cwd()))
    return parse_config(document, base=path.parent, name=name).read_from(path.absolute())


def _hint_for_image(path: Path) -> str:
    """Return where the configuration of an output or image comes from; empty for other files."""
    if path.with_name(f"{path.name}.run").is_dir():
        return f"; that of the run is printed by `ssi config {path}`"
    return f"; for an image: `ssi init run.yaml --input {path}`" if path.suffix.lower() in _IMAGES else ""


def parse_config(document: Any, base: Path = Path(), name: str = "configuration") -> RunConfig:
    """Validate a parsed YAML document and resolve its paths against ``base``.

    An empty section (``training:`` alone) means the section's defaults.

    Raises
    ------
    ConfigError
        The configuration is invalid; one line per error.
    """
    if not isinstance(document, dict):
        found = "nothing" if document is None else type(document).__name__
        raise ConfigError(f"{name}: expected a mapping of sections (input, output, psf, ...), found {found}")
    try:
        refuse_strange_values(document)
    except ConfigError as error:
        raise ConfigError(f"{name} is invalid:\n  {error}") from None
    document = _with_profile(_resolve_paths(_without_empty_sections(document, RunConfig), base.resolve()))
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        lines = [f"  {line}" for line in explain(error, one_psf=not isinstance(document.get("psf"), list))]
        raise ConfigError("\n".join([f"{name} is invalid:", *lines])) from None


def _with_profile(document: dict[str, Any]) -> dict[str, Any]:
    """Merge the site's SLURM profile; values of the run's own configuration override it."""
    executor = document.get("executor")
    if not isinstance(executor, dict) or not isinstance(executor.get("profile"), str):
        return document
    path = Path(executor["profile"])
    if not path.is_file():
        raise ConfigError(f"executor.profile {path} not found: expected a YAML file with the keys of executor.slurm")
    site = read_yaml(path)
    refuse_strange_values({"executor": {"slurm": site}})
    if not isinstance(site, dict):
        raise ConfigError(f"{path}: expected a mapping with the keys of executor.slurm (partition, account, ...)")
    unknown = [str(key) for key in site if key not in SlurmConfig.model_fields]
    if unknown:
        raise ConfigError(
            f"{path} has unknown keys {', '.join(unknown)}: expected some of {', '.join(SlurmConfig.model_fields)} "
            "(all other options belong in the run's own configuration)"
        )
    own = executor.get("slurm", {})
    merged = {**site, **own} if isinstance(own, dict) else own
    return {**document, "executor": {**executor, "slurm": merged}}


def _without_empty_sections(document: dict[Any, Any], model: type[BaseModel]) -> dict[Any, Any]:
    kept = {}
    for key, value in document.items():
        field = model.model_fields.get(key) if isinstance(key, str) else None
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if value is None:
                continue
            value = _without_empty_sections(value, inner) if isinstance(value, dict) else value
        kept[key] = value
    return kept


def _resolve_paths(document: dict[str, Any], base: Path) -> dict[str, Any]:
    resolved = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    for section, key in _PATHS:
        part = resolved.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            part[key] = _absolute(part[key], base, f"{section}.{key}")
    _resolve_marker(resolved.get("follow"), base)
    if isinstance(resolved.get("psf"), list):
        resolved["psf"] = [_resolve_psf(part, base) for part in resolved["psf"]]
    elif "psf" in resolved:
        resolved["psf"] = _resolve_psf(resolved["psf"], base)
    return resolved


def _resolve_marker(part: Any, base: Path) -> None:
    """Make the name of a marker absolute; the other rules are words."""
    if isinstance(part, dict) and isinstance(part.get("complete"), str) and "{" in part["complete"]:
        part["complete"] = _absolute(part["complete"], base, "follow.complete")


def _resolve_psf(part: Any, base: Path) -> Any:
    if not isinstance(part, dict):
        return part
    found = dict(part)
    if isinstance(part.get("path"), str):
        found["path"] = _absolute(part["path"], base, "psf.path")
    if isinstance(part.get("by"), list):
        found["by"] = [
            {**each, "psf": _resolve_psf(each["psf"], base)} if isinstance(each, dict) and "psf" in each else each
            for each in part["by"]
        ]
    return found


def _from_url(value: str, where: str) -> Place:
    """Return the place that a URL names.

    Raises
    ------
    ConfigError
        The option takes no URL, or this one is not supported; no credentials are shown.
    """
    try:
        found = parse_url(value)
    except ValueError as error:
        raise ConfigError(f"{where} is {redact(value)!r}, {error}") from None
    if isinstance(found, Url) and where not in _BY_URL:
        raise ConfigError(
            f"{where} is {redact(value)!r}, a URL: expected the path of a file or folder (URLs: {', '.join(_BY_URL)}); "
            "mount the store, or copy the data"
        )
    return found


def _absolute(value: str, base: Path, where: str) -> str:
    if not value.strip():
        raise ConfigError(f"{where} is empty: expected the path of a file or folder")
    if is_address(value):
        found = _from_url(value, where)
        if isinstance(found, Url):
            return str(found)
        value = str(found)
    try:
        path = (base / Path(value).expanduser()).resolve()
        path.lstat()
    except RuntimeError as error:  # ~name of an unknown user, or circular links
        raise ConfigError(f"{where} is {value!r}: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigError(f"{where} is {value[:40]!r}...: too long for the file system") from None
    except UnicodeEncodeError:
        raise ConfigError(
            f"{where} is {value!r}, not a valid file name in this locale's encoding, {sys.getfilesystemencoding()}: "
            "set LC_ALL=C.UTF-8"
        ) from None
    # a newline in the folder's name would break job scripts; bytes that are not valid text are allowed
    refuse_strange_values({where: os.fsencode(path).decode(errors="replace")})
    return str(path)
