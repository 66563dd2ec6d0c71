"""Turn pydantic's validation errors into readable messages.

Pydantic puts the members of unions into its locations (``tiling.core.constrained-int``) and reports
each of them. This module walks each location along the models again, keeps the keys, drops the
union members, and writes one line per option: what is expected and what was found.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ssi_pipeline.config.model import RunConfig
from ssi_pipeline.config.url import Url
from ssi_pipeline.redact import redact

_PLAIN = {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path", Url: "a URL"}
_BOUNDS = (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "of at most"))


_FEW = 2
"""Most sections to list for an option name that exists in several; for 'kind' a list is no help."""


class _Place(NamedTuple):
    names: tuple[Any, ...]
    annotation: Any
    is_key: bool


def explain(error: ValidationError, one_psf: bool) -> list[str]:
    """Return one line per invalid option; ``one_psf``: psf is a single section, not a list."""
    by_place: dict[tuple[Any, ...], tuple[_Place, Any]] = {}
    for item in error.errors():
        location = item["loc"]
        if item["type"] == "missing" and isinstance(location[-1], int):
            location = location[:-1]  # a list that is too short: report the list
        place = _locate(location)
        by_place.setdefault(place.names, (place, item))
    # members of a union that do not match report the whole value: keep the most specific error
    kept = [entry for names, entry in by_place.items() if not any(_inside(other, names) for other in by_place)]
    return [_line(place, item, one_psf) for place, item in kept]


def _inside(names: tuple[Any, ...], outer: tuple[Any, ...]) -> bool:
    return len(names) > len(outer) and names[: len(outer)] == outer


def _line(place: _Place, item: Any, one_psf: bool) -> str:
    names = [str(name) for name in place.names]
    if one_psf and place.names[:2] == ("psf", 0):
        del names[1]
    where = ".".join(name if name.isprintable() else ascii(name)[1:-1] for name in names)
    match item["type"]:
        case "union_tag_invalid":
            return f"{where}.kind: {_unknown(item['ctx']['tag'], _kinds(place.annotation))}"
        case "union_tag_not_found":
            return f"{where}.kind: missing; expected {_either(map(repr, _kinds(place.annotation)))}"
        case "extra_forbidden":
            return f"{where}: unknown key{_hint_for_key(str(place.names[-1]), _locate(item['loc'][:-1]).annotation)}"
        case "out_of_range":
            return f"{where}: {item['msg']}"
        case "invalid_key":
            return f"{where}: a key must be text"
        case "missing" if not isinstance(item["loc"][-1], int):
            return f"{where}: missing (required): expected {_describe(place.annotation)}"
        case "value_error":
            text = str(item["msg"].removeprefix("Value error, "))
            return f"{where}: {text}" if where else text  # a contradiction between sections has no single location
    if place.is_key:
        return f"{where}: unknown axis; expected {_describe(place.annotation)}"
    choices, found = _literals(place.annotation), item["input"]
    close = difflib.get_close_matches(found, choices, n=1) if isinstance(found, str) else []
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{where}: expected {_describe(place.annotation)}, found {_show(found)}{hint}"


def _show(found: Any) -> str:
    text = "nothing" if found is None else redact(repr(found))
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown(value: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    return f"unknown value {value!r}; {hint}"


def _hint_for_key(key: str, model: Any) -> str:
    known = sorted(model.model_fields) if _is_model(model) else []
    elsewhere = [path for path in _all_keys(RunConfig) if path.split(".")[-1] == key]
    misspelt = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    similar = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    # a PSF is complete in itself: sigma is a width there, not the noise of the sensor
    few = ["' or '".join(elsewhere)] if 0 < len(elsewhere) <= _FEW and "kind" not in known else []
    guesses = [*misspelt, *few, *similar]
    return f"; did you mean '{guesses[0]}'?" if guesses else f"; expected one of {', '.join(known)}"


def _all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield prefix + key
        if _is_model(field.annotation):
            yield from _all_keys(typing.cast(type[BaseModel], field.annotation), f"{prefix}{key}.")


def _locate(location: Iterable[Any]) -> _Place:
    """Walk a pydantic location along the models; return its keys and the annotation there."""
    annotation: Any = RunConfig
    keys: Any = None
    names: list[Any] = []
    parts = list(location)
    for position, part in enumerate(parts):
        if part == "[key]":
            return _Place(tuple(names), keys, True)
        annotation = _bare(annotation)
        members = _members(annotation)
        # a union label of pydantic, not a key
        if len(members) > 1 and (chosen := _member(members, part)) is not None:
            if position == len(parts) - 1 and not _is_model(chosen):
                break
            annotation = chosen
            continue
        names.append(part)
        keys = typing.get_args(annotation)[0] if typing.get_origin(annotation) is dict else None
        annotation = _child(annotation, part)
    return _Place(tuple(names), annotation, False)


def _bare(annotation: Any) -> Any:
    """Return the annotation without metadata, and without None if one other member remains."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    members = _members(annotation)
    return _bare(members[0]) if len(members) == 1 and members[0] is not annotation else annotation


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [part for part in typing.get_args(annotation) if part is not type(None)]
    return [annotation]


def _member(members: list[Any], label: Any) -> Any:
    """Return the union member that pydantic calls ``label``; only models and mappings have contents."""
    if all(_is_model(member) for member in members):
        return next((member for member in members if _kind_of(member) == label), None)
    sequences = [member for member in members if typing.get_origin(_bare(member)) is tuple]
    if sequences and str(label).startswith("tuple["):
        return sequences[0]
    mappings = [member for member in members if typing.get_origin(member) is dict]
    return mappings[0] if mappings and str(label).startswith("dict[") else members[0]


def _child(annotation: Any, part: Any) -> Any:
    arguments = typing.get_args(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        return None if field is None else _with_metadata(field)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    if typing.get_origin(annotation) is tuple:
        return arguments[0] if arguments[-1] is Ellipsis else arguments[min(part, len(arguments) - 1)]
    return None


def _with_metadata(field: FieldInfo) -> Any:
    whole: Any = field.annotation
    for constraint in field.metadata:
        whole = Annotated[whole, constraint]
    return whole


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind_of(model: Any) -> str:
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


def _kinds(annotation: Any) -> list[str]:
    return [_kind_of(member) for member in _members(_bare(annotation))]


def _literals(annotation: Any) -> list[str]:
    members = [_bare(member) for member in _members(_bare(annotation))]
    found = [choice for m in members if typing.get_origin(m) is Literal for choice in typing.get_args(m)]
    return [choice for choice in found if isinstance(choice, str)]


def _either(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} or {last}" if most else last


def _describe(annotation: Any) -> str:
    """Describe the values that an option accepts."""
    bare, arguments = _bare(annotation), typing.get_args(_bare(annotation))
    if len(members := _members(bare)) > 1:
        if all(_is_model(member) for member in members):
            return f"a section with a key 'kind' ({_either(map(repr, _kinds(bare)))})"
        return _either(_describe_member(member) for member in members)
    if _is_model(bare):
        return f"a section with keys among {', '.join(bare.model_fields)}"
    if bare in _PLAIN:
        return " ".join([_PLAIN[bare], *_limits(annotation)])
    origin = typing.get_origin(bare)
    if origin is Literal:
        return _either(map(repr, arguments))
    if origin is dict:
        return f"a mapping from {_either(typing.get_args(_bare(arguments[0])))} to {_describe(arguments[1])}"
    if arguments[-1] is Ellipsis:
        return f"{_describe(arguments[0])}, or a list of these"
    return f"a list of {len(arguments)}: {', then '.join(map(_describe, arguments))}"


def _describe_member(member: Any) -> str:
    """Describe one member of a union; a list is a member of its own."""
    bare = _bare(member)
    if typing.get_origin(bare) is tuple and typing.get_args(bare)[-1] is Ellipsis:
        return f"a list of {_describe(typing.get_args(bare)[0])}"
    return _describe(member)


def _limits(annotation: Any) -> list[str]:
    """Return the bounds in an annotation's metadata; those of an optional value are on its members."""
    if typing.get_origin(annotation) is not Annotated:
        members = _members(annotation)
        return _limits(members[0]) if len(members) == 1 and members[0] is not annotation else []
    inner, *metadata = typing.get_args(annotation)
    constraints = [c for item in metadata for c in (item.metadata if isinstance(item, FieldInfo) else [item])]
    limits = [f"{word} {getattr(c, name):g}" for c in constraints for name, word in _BOUNDS if hasattr(c, name)]
    both = " and ".join([*_limits(inner), *limits])
    return [both] if both else []
