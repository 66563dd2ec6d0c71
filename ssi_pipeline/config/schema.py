"""JSON schema of the configuration that ``load_config`` accepts, for editors and for validation before a run.

It is generated from the models, so it cannot become outdated. This module adds the conversions before validation (one
PSF in place of a list, an empty section, a number that YAML parsed as text) and the rules that are code.
Contradictions between sections cannot be expressed in a schema: only loading finds them.
"""

from __future__ import annotations

from typing import Any

from ssi_pipeline.config.model import RunConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""JSON schema keywords for pydantic's bounds, which it leaves untranslated behind a validator."""

_WHOLE = r"\d+"
_DIGITS = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_WORDS = ("true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "1", "0")
_TRUTH = f"^(?:{'|'.join(''.join(f'[{c}{c.upper()}]' for c in word) for word in _WORDS)})$"
"""No case-insensitive flag: editors use JavaScript patterns."""

_FIELDS: dict[str, dict[str, Any]] = {
    "InputConfig.axes": {"pattern": r"^(?=.*y)(?=.*x)(?!.*(.).*\1)[tczyx]+$"},
    "ExecutorConfig.dashboard": {"pattern": r"^[^:\s]+:\d{1,5}$"},
    "FollowConfig.complete": {"pattern": r"\{t\}[^/]*$"},
    "OnEndConfig.command": {"pattern": r"\S"},
    "StorageConfig.endpoint": {"pattern": r"^https?://[^/?#@\s]+(?:/[^?#@\s]*)?$"},
}
"""Patterns that validators require of text fields."""

_INSTEAD: dict[str, dict[str, Any]] = {
    # YAML parses an unquoted 0.5 as a number
    "OutputConfig.ome_zarr": {"enum": ["0.4", "0.5", 0.4, 0.5]},
    # and 12:00:00 in base 60: seconds, from a minute to 999 hours
    "SlurmConfig.walltime": {
        "anyOf": [
            {
                "type": "string",
                "pattern": r"^(?:\d+-)?\d{1,3}:[0-5]\d:[0-5]\d$",
                "not": {"pattern": r"^(?:0+-)?0{1,3}:00:[0-5]\d$"},
            },
            {"type": "integer", "minimum": 60, "exclusiveMaximum": 1000 * 3600},
        ]
    },
}
"""Fields whose validator accepts more than their type."""

_SECTIONS: dict[str, dict[str, Any]] = {
    "GaussianPsf": {
        "oneOf": [{"required": [name], "properties": {name: {"type": "object"}}} for name in ("fwhm_um", "fwhm_px")]
    },
    "ExecutorConfig": {
        "if": {"required": ["kind"], "properties": {"kind": {"const": "slurm"}}},
        "then": {
            "required": ["workers", "memory_gib"],
            "properties": {"workers": {"not": {"type": "null"}}, "memory_gib": {"not": {"type": "null"}}},
        },
    },
}
"""Rules within one section."""


def config_schema() -> dict[str, Any]:
    """Return the schema as a document of JSON Schema, draft 2020-12."""
    schema = RunConfig.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    for name, section in {**definitions, "RunConfig": schema}.items():
        for key, field in section["properties"].items():
            section["properties"][key] = _field(f"{name}.{key}", field)
        section.update(_SECTIONS.get(name, {}))
    one = schema["properties"]["psf"]["items"]
    listed = schema["properties"]["psf"]
    schema["properties"]["psf"] = {"anyOf": [one, listed], "title": listed.get("title", "Psf")}
    schema["title"] = "Configuration of a run of ssi_pipeline"
    return {"$schema": DIALECT, **schema}


def _field(name: str, field: dict[str, Any]) -> dict[str, Any]:
    if name in _INSTEAD:
        kept: dict[str, Any] = {key: field[key] for key in ("title", "default", "description") if key in field}
        return {**kept, **_INSTEAD[name]}
    if "$ref" in field and "default" in field:
        # an empty section means the section's defaults
        return {"anyOf": [{"$ref": field["$ref"]}, {"type": "null"}]}
    lenient: dict[str, Any] = _lenient(field, _FIELDS.get(name, {}))
    return lenient


def _lenient(node: Any, demanded: dict[str, Any]) -> Any:
    """Translate bounds to schema keywords, and allow what pydantic accepts as a number or a boolean."""
    if isinstance(node, list):
        return [_lenient(part, demanded) for part in node]
    if not isinstance(node, dict):
        return node
    inner = {key: value if key == "default" else _lenient(value, demanded) for key, value in node.items()}
    kind = inner.get("type")
    if kind == "string" and "const" not in inner and "enum" not in inner:
        return {**inner, **({"pattern": r"\S"} if inner.get("format") == "path" else {}), **demanded}
    if kind == "boolean":
        return _or_else(inner, {"enum": [0, 1]}, {"type": "string", "pattern": _TRUTH})
    if kind in ("integer", "number") and "const" not in inner and "enum" not in inner:
        inner = _bounded(inner)
        return _or_else(inner, {"type": "string", "pattern": _number_as_text(inner)})
    return inner


def _bounded(number: dict[str, Any]) -> dict[str, Any]:
    """Translate bounds to schema keywords; of two equivalent bounds keep the narrower."""
    found: dict[str, Any] = {}
    for key, value in number.items():
        word = _BOUNDS.get(key, key)
        narrower = {"minimum": max, "maximum": min}.get(word)
        found[word] = narrower(found[word], value) if narrower and word in found else value
    return found


def _number_as_text(number: dict[str, Any]) -> str:
    """Return a pattern of texts that are parsed as numbers: quoted ones, and 1e-3, which is text in YAML 1.1."""
    lowest = number.get("minimum", number.get("exclusiveMinimum", -1))
    sign = r"[+-]?" if lowest < 0 else r"\+?"
    zero = r"(?![+0.]*(?:[eE]|$))" if number.get("exclusiveMinimum") == 0 else ""
    return f"^{zero}{sign}{_DIGITS if number['type'] == 'number' else _WHOLE}$"


def _or_else(plain: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """Return a choice between a schema and others; keywords about the whole stay outside."""
    outer: dict[str, Any] = {key: plain[key] for key in ("title", "default", "description") if key in plain}
    return {**outer, "anyOf": [{k: v for k, v in plain.items() if k not in outer}, *others]}
