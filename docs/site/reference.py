"""Reference pages: commands from the parser, options from the models, the Python API from its docstrings."""

from __future__ import annotations

import inspect
import json
import re
from argparse import HelpFormatter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

import ssi_pipeline as ssi
from ssi_pipeline.commands.parser import COMMANDS, make_parser
from ssi_pipeline.config import PsfConfig, RunConfig
from ssi_pipeline.config.template import template_text

PSFS = {model.model_fields["kind"].annotation.__args__[0]: model for model in get_args(get_args(PsfConfig)[0])}
"""Model of the options of each kind of PSF."""

SUFFIXES = {"_um": "µm", "_px": "pixels", "_gib": "GiB", "_s": "seconds"}


def commands() -> str:
    """Return a section for each command with what its ``--help`` prints."""
    parsers = make_parser().parsers
    for parser in parsers.values():
        parser.formatter_class = partial(HelpFormatter, width=88)
    return "\n".join(f"### ssi {name}\n\n```text\n{parsers[name].format_help()}```\n" for name in COMMANDS)


# options ------------------------------------------------------------------------------------------------------------


def option_notes() -> dict[str, dict[str, str]]:
    """Return what is written by hand: ``when`` to change an option; ``units``, ``means`` that are nowhere else."""
    notes: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "options.yaml").read_text())
    return notes


def fields(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Yield every option: its name with dots (``psf.file.path`` for a kind of PSF), its section's model, its key."""
    for key, field in model.model_fields.items():
        inner = field.annotation
        if key == "psf":
            for kind, section in PSFS.items():
                yield from fields(section, f"psf.{kind}.")
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{prefix}{key}.")
        elif not (key == "kind" and prefix.startswith("psf.")):
            yield f"{prefix}{key}", model, key


def options() -> str:
    """Return a section for each section of the configuration, with all its options."""
    notes = option_notes()
    meaning = meanings() | notes["means"]
    lines: list[str] = []
    section = ""
    for name, model, key in sorted(fields(), key=lambda found: "." in found[0]):
        before = name.rpartition(".")[0]
        if before != section or not lines:
            section = before
            lines += [f"## {_title(section)}\n", *([f"{_first_line(model)}\n"] if section else [])]
        field = model.model_fields[key]
        schema = _properties(model)[key]
        unit = notes["units"].get(name) or next((u for end, u in SUFFIXES.items() if key.endswith(end)), "")
        facts = [kind_of(schema), unit, _default(field.get_default(call_default_factory=True), field.is_required())]
        lines.append(f"### {name}\n\n*{', '.join(fact for fact in facts if fact)}*\n")
        when = notes["when"][name]
        verb = "Set" if when.startswith("always") else "Change"
        lines.append(f"{_sentence(meaning.get(name, ''))} **{verb} it** {when}\n")
    return "\n".join(lines)


@cache
def _properties(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["properties"]
    return found


def _title(section: str) -> str:
    if section.startswith("psf."):
        return f"psf, kind: {section[4:]}"
    return section or "General"


def _default(value: Any, required: bool) -> str:
    return "required" if required else f"default `{json.dumps(value) if not isinstance(value, str) else value}`"


def kind_of(schema: dict[str, Any]) -> str:
    """Return the type of an option in words, from its JSON schema."""
    if "anyOf" in schema or "oneOf" in schema:
        parts = [kind_of(part) for part in schema.get("anyOf") or schema["oneOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(part for part in parts if part))
    if "$ref" in schema:
        return "section"
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _bounds(schema)
    if kind == "object":
        inner = schema.get("additionalProperties", {})
        return f"by axis: {kind_of(inner)}" if isinstance(inner, dict) and inner else "by axis"
    if kind == "array":
        inner = schema.get("items", {})
        return f"list of {kind_of(inner)}s" if inner else "start and stop"
    return {"string": "path" if schema.get("format") == "path" else "text", "boolean": "`true` or `false`"}.get(
        kind, ""
    )


def _bounds(schema: dict[str, Any]) -> str:
    """Return bounds in words, without those that only refuse the absurd."""
    names = {"exclusiveMinimum": "gt", "minimum": "ge", "exclusiveMaximum": "lt", "maximum": "le"}
    found = {names.get(key, key): value for key, value in schema.items()}
    found = {key: value for key, value in found.items() if not isinstance(value, int | float) or abs(value) < 1e5}
    if "ge" in found and "le" in found:
        return f" {found['ge']} to {found['le']}"
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return "".join(f" {word} {found[key]}" for key, word in words.items() if key in found)


def meanings() -> dict[str, str]:
    """Return the comment of each option in the commented configuration, by its name with dots."""
    found: dict[str, str] = {}
    place: list[tuple[int, str]] = []
    name = ""
    for line in template_text().splitlines():
        option = re.match(r"^(# {3}|# | *)(#?)([a-z_0-9]+):(?: (.*))?$", line)
        if option and not (option[1] == "# " and option[3] != "psf"):
            in_example = option[1].startswith("#")
            depth = (1 if option[1] == "#   " else 0) if in_example else len(option[1]) // 2
            place = [*place[:depth], (depth, option[3])]
            value, _, comment = (option[4] or "").partition("#")
            keys = [key for _, key in place]
            if keys[0] == "psf" and option[3] == "kind":
                place[0] = (0, f"psf.{value.strip()}")
            name = ".".join(key for _, key in place)
            if comment:
                found[name] = comment.strip()
        elif name and (more := re.match(r"^ *# {11,}(.*)$", line)):
            found[name] = f"{found.get(name, '')} {more[1].strip().removeprefix('# ')}".strip()
    return found


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    begins_with_a_value = re.match(r"\w+(:| \(|,)", text)
    return f"{text}." if begins_with_a_value else f"{text[:1].upper()}{text[1:]}."


# Python -------------------------------------------------------------------------------------------------------------


def api() -> str:
    """Return the public names of the package with their signatures and docstrings."""
    from ssi_pipeline import psf
    from ssi_pipeline.api import run
    from ssi_pipeline.api.opened_run import Run
    from ssi_pipeline.api.run_metrics import RunMetrics

    entries = {
        "ssi.deconvolve": ssi.deconvolve,
        "Result": ssi.Result,
        "ssi.Inverse": ssi.Inverse,
        "ssi.run": run.run,
        "ssi.plan": run.plan,
        "ssi.preview": run.preview,
        "ssi.open_run": ssi.open_run,
        "Run": Run,
        "RunMetrics": RunMetrics,
    }
    kinds = ["measured", *(kind for kind in PSFS if kind != "file")]
    entries |= {f"ssi.psf.{name}": getattr(psf, name) for name in kinds}
    return "\n".join([*(_entry(name, thing) for name, thing in entries.items()), _errors()])


def _entry(name: str, thing: Any) -> str:
    parts = [f"### {name}\n"]
    if name.startswith("ssi."):  # the others are returned, not made
        parts.append(f"```python\n{_signature(name, thing)}\n```\n")
    parts.append(docstring(inspect.getdoc(thing) or ""))
    if inspect.isclass(thing) and not issubclass(thing, tuple):
        for key, value in vars(thing).items():
            if not key.startswith("_") and inspect.getdoc(value) and (callable(value) or isinstance(value, property)):
                shown = key if isinstance(value, property) else _signature(key, getattr(thing, key))
                parts.append(f"```python\n.{shown}\n```\n\n{docstring(inspect.getdoc(value) or '')}")
    return "\n".join(parts)


def _signature(name: str, thing: Any) -> str:
    """Return a call with types and defaults, one argument a line where it is long."""
    signature = inspect.signature(thing)
    given = []
    named = False
    for key, one in signature.parameters.items():
        if one.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            named = True
            given.append("*")
        if key != "self":
            stars = "**" if one.kind is inspect.Parameter.VAR_KEYWORD else ""
            default = "" if one.default is one.empty else f" = {'...' if callable(one.default) else repr(one.default)}"
            given.append(f"{stars}{key}: {str(one.annotation).strip(chr(34))}{default}")
    result = "" if signature.return_annotation in (signature.empty, "None") else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(given)}){result}"
    return line if len(line) < 90 else "\n    ".join([f"{name}(", *(f"{part}," for part in given)]) + f"\n){result}"


def _errors() -> str:
    rows = [
        f"| `{name}` | {_first_line(thing)} | {int(thing.exit_status)} |"
        for name, thing in vars(ssi.errors).items()
        if inspect.isclass(thing) and issubclass(thing, ssi.errors.SsiError)
    ]
    head = ["### ssi.errors\n", "Exit status: what the command `ssi` ends with.\n", "| class | when | exit status |"]
    return "\n".join([*head, "|---|---|---|", *rows, ""])


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0].replace("``", "`")


def docstring(text: str) -> str:
    """Return a docstring of numpydoc as Markdown."""
    parts = re.split(r"^([A-Z][a-z]+)\n-+\n", text.replace("``", "`"), flags=re.MULTILINE)
    shown = [_examples(parts[0].strip())]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title == "Examples":
            shown.append(_examples(body.strip()))
        elif title in ("Parameters", "Attributes", "Raises"):
            items = re.findall(r"^(\S.*)\n((?:(?: +.*)?\n?)*?)(?=^\S|\Z)", f"{body.strip()}\n", re.MULTILINE)
            listed = [f"- **{name.strip()}**: {' '.join(words.split())}" for name, words in items]
            shown.append("\n".join([f"*{title}*\n", *listed]))
        else:
            shown.append(f"*{title}*: {' '.join(body.split())}")
    return "\n\n".join(shown) + "\n"


def _examples(text: str) -> str:
    """Return a text with its doctests fenced."""
    return re.sub(r"^>>> (?:.|\n)*?(?=\n\n|\Z)", lambda found: f"```pycon\n{found[0]}\n```", text, flags=re.MULTILINE)
