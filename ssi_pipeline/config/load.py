"""Read a run configuration from YAML, and say helpfully what is wrong with it."""

from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ssi_pipeline.config.model import RunConfig
from ssi_pipeline.errors import ConfigError

_PATHS = (("input", "path"), ("output", "path"), ("output", "state"), ("training", "start_from"))


def load_config(path: Path | str) -> RunConfig:
    """Load a YAML file; relative paths in it are relative to the file's folder.

    Raises
    ------
    ConfigError
        The file is missing, is no YAML mapping, or does not describe a run.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"configuration {path} not found; `ssi init {path}` writes one to edit")
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    return parse_config(document, base=path.parent, name=str(path))


def parse_config(document: Any, base: Path = Path(), name: str = "configuration") -> RunConfig:
    """Check a document (as YAML gives it) and resolve its paths against ``base``."""
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping of sections, found {type(document).__name__}")
    try:
        return RunConfig.model_validate(_resolve_paths(document, base.resolve()))
    except ValidationError as error:
        lines = [f"  {_explain(item)}" for item in error.errors()]
        raise ConfigError("\n".join([f"{name} cannot be used:", *lines])) from None


def _resolve_paths(document: dict[str, Any], base: Path) -> dict[str, Any]:
    resolved = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    for section, key in _PATHS:
        part = resolved.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            part[key] = _absolute(part[key], base)
    if isinstance(resolved.get("psf"), list):
        resolved["psf"] = [_resolve_psf(part, base) for part in resolved["psf"]]
    elif "psf" in resolved:
        resolved["psf"] = _resolve_psf(resolved["psf"], base)
    return resolved


def _resolve_psf(part: Any, base: Path) -> Any:
    if isinstance(part, dict) and isinstance(part.get("path"), str):
        return {**part, "path": _absolute(part["path"], base)}
    return part


def _absolute(value: str, base: Path) -> str:
    return str((base / Path(value).expanduser()).resolve())


def _explain(item: Any) -> str:
    """One line for one pydantic error: where, what was found, what was expected."""
    location = [part for part in item["loc"]]
    where = ".".join(str(part) for part in location if not (location[0] == "psf" and part in ("file", "gaussian", 0)))
    if item["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(sorted(known))}"
        return f"{where}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{where}: missing; it has no default"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (found {item['input']!r})"


def _known_keys(location: list[Any]) -> list[str]:
    """Names of the fields that may stand at a place in the configuration."""
    models: list[type[BaseModel]] = [RunConfig]
    for part in location:
        inner = [field.annotation for model in models for key, field in model.model_fields.items() if key == part]
        found = [model for annotation in inner for model in _models_in(annotation)]
        kinds = [model for model in models if _kind_of(model) == part]
        models = kinds or found or models
    return sorted({key for model in models for key in model.model_fields})


def _kind_of(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    if field is None or typing.get_origin(field.annotation) is not typing.Literal:
        return None
    choices = typing.get_args(field.annotation)
    return str(choices[0]) if len(choices) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
