"""Read a run configuration from YAML."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ssi_pipeline.config.explain import explain
from ssi_pipeline.config.model import RunConfig
from ssi_pipeline.config.plain_values import refuse_strange_values
from ssi_pipeline.config.slurm import SlurmConfig
from ssi_pipeline.config.yaml_text import read_yaml
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.redact import redact

_PATHS = (
    ("input", "path"),
    ("output", "path"),
    ("output", "state"),
    ("training", "start_from"),
    ("executor", "profile"),
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def load_config(path: Path | str) -> RunConfig:
    """Load a YAML file; relative paths in it are relative to the file's folder.

    Raises
    ------
    ConfigError
        The file is missing, is no YAML mapping, or does not describe a run.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"configuration {path} is {'a folder' if path.is_dir() else 'no regular file'}: give a file")
    if not path.is_file():
        raise ConfigError(f"configuration {path} not found; `ssi init {path}` writes one to edit")
    return parse_config(read_yaml(path), base=path.parent, name=str(path)).read_from(path.absolute())


def parse_config(document: Any, base: Path = Path(), name: str = "configuration") -> RunConfig:
    """Check a document (as YAML gives it) and resolve its paths against ``base``.

    A section with nothing in it (``training:`` and no more) is the section's defaults.

    Raises
    ------
    ConfigError
        The document does not describe a run; one line for each reason.
    """
    if not isinstance(document, dict):
        found = "nothing" if document is None else type(document).__name__
        raise ConfigError(f"{name}: expected a mapping of sections (input, output, psf, ...), found {found}")
    try:
        refuse_strange_values(document)
    except ConfigError as error:
        raise ConfigError(f"{name} cannot be used:\n  {error}") from None
    document = _with_profile(_resolve_paths(_without_empty_sections(document, RunConfig), base.resolve()))
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        lines = [f"  {line}" for line in explain(error, one_psf=not isinstance(document.get("psf"), list))]
        raise ConfigError("\n".join([f"{name} cannot be used:", *lines])) from None


def _with_profile(document: dict[str, Any]) -> dict[str, Any]:
    """Take up what the site's profile says of SLURM; what the run says itself counts more."""
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
            f"{path} has {', '.join(unknown)}: expected some of {', '.join(SlurmConfig.model_fields)} "
            "(what is not about SLURM belongs to the run's own configuration)"
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
    if isinstance(resolved.get("psf"), list):
        resolved["psf"] = [_resolve_psf(part, base) for part in resolved["psf"]]
    elif "psf" in resolved:
        resolved["psf"] = _resolve_psf(resolved["psf"], base)
    return resolved


def _resolve_psf(part: Any, base: Path) -> Any:
    if isinstance(part, dict) and isinstance(part.get("path"), str):
        return {**part, "path": _absolute(part["path"], base, "psf.path")}
    return part


def _absolute(value: str, base: Path, where: str) -> str:
    if not value.strip():
        raise ConfigError(f"{where} is empty: expected the name of a file or folder")
    if _ADDRESS.match(value):  # as a path it would be kept in the state and the output, with what it may hold
        raise ConfigError(
            f"{where} is {redact(value)!r}, an address: expected the name of a file or folder; "
            "mount the store, or copy it here"
        )
    try:
        path = (base / Path(value).expanduser()).resolve()
        path.lstat()
    except RuntimeError as error:  # ~name of a user who does not exist, or links in a circle
        raise ConfigError(f"{where} is {value!r}: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigError(f"{where} is {value[:40]!r}...: longer than the file system allows") from None
    except UnicodeEncodeError:
        raise ConfigError(
            f"{where} is {value!r}, which cannot be a name with {sys.getfilesystemencoding()}, the encoding of this "
            "locale: set LC_ALL=C.UTF-8"
        ) from None
    # the folder's own name may have a newline, which jobs' scripts cannot; bytes that are no text, it may have
    refuse_strange_values({where: os.fsencode(path).decode(errors="replace")})
    return str(path)
