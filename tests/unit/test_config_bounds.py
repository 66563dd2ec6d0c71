"""Every value gives a configuration or a one-line refusal, immediately."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ssi_pipeline.config import RunConfig, load_config, parse_config
from ssi_pipeline.config.psf import (
    ConfocalPsf,
    FilePsf,
    GaussianPsf,
    GibsonLanniPsf,
    LightSheetPsf,
    TwoPhotonPsf,
    WidefieldPsf,
)
from ssi_pipeline.config.yaml_text import parse_yaml
from ssi_pipeline.errors import ConfigError

PLAIN: dict[str, Any] = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}}

PSFS: dict[type[BaseModel], dict[str, Any]] = {
    FilePsf: {"kind": "file", "path": "p.npy"},
    GaussianPsf: {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
    WidefieldPsf: {"kind": "widefield", "numerical_aperture": 1, "wavelength_um": 0.5, "support_um": {"y": 1, "x": 1}},
    GibsonLanniPsf: {
        "kind": "gibson_lanni",
        "numerical_aperture": 1,
        "wavelength_um": 0.5,
        "support_um": {"y": 1, "x": 1},
    },
    ConfocalPsf: {"kind": "confocal", "numerical_aperture": 1, "wavelength_um": 0.5, "excitation_wavelength_um": 0.5},
    LightSheetPsf: {"kind": "light_sheet", "numerical_aperture": 1, "wavelength_um": 0.5, "sheet_fwhm_um": 1},
    TwoPhotonPsf: {"kind": "two_photon", "numerical_aperture": 1, "excitation_wavelength_um": 0.9},
}


def options(model: type[BaseModel], names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from options(inner, (*names, name))
        yield (*names, name)


PLACES = [("", names) for names in options(RunConfig)] + [
    (model.__name__, ("psf", name)) for model in PSFS for name in model.model_fields
]

BAD: list[Any] = [
    10**30,
    -(10**30),
    2**63 - 1,
    -(2**63),
    0,
    -1,
    True,
    1e308,
    -1e308,
    5e-324,
    math.nan,
    math.inf,
    "",
    " ",
    "\0",
    "a\nb",
    "\ud800",
    "x" * 100_000,
    "9" * 5000,
    "9" * 60,
    "0x_",
    "1e400",
    "NaN",
    "2001-99-99",
    b"\xff",
    None,
    [],
    [[[[]]]],
    [1] * 20_000,
    [2**62, 2**63 - 1],
    {},
    {"z": 2**62, "y": 2**62, "x": 2**62},
    {"z": 0, "y": 0, "x": 0},
    {"y": 1e-300, "x": math.nan},
    {"q" * 5000: 1},
    {True: 1, None: 2, 3.5: 4},
    {"kind": {"kind": "kind"}},
    object(),
]


def answer(document: dict[str, Any]) -> RunConfig | str:
    started = time.thread_time()  # not the clock's: other tests work as well
    found: RunConfig | str
    try:
        found = parse_config(document)
    except ConfigError as error:
        found = str(error)
        assert 0 < len(found) < 20_000
        assert all(line.isprintable() for line in found.split("\n")), found
        found.encode()
    assert time.thread_time() - started < 1, "expected an answer within a second of CPU"
    return found


@pytest.mark.parametrize(("psf", "names"), PLACES, ids=lambda part: part if isinstance(part, str) else ".".join(part))
def test_every_option_answers_to_every_value(psf: str, names: tuple[str, ...]) -> None:
    for value in BAD:
        document: dict[str, Any] = copy.deepcopy(PLAIN)
        document["psf"] = next((dict(plain) for model, plain in PSFS.items() if model.__name__ == psf), document["psf"])
        section = document
        for name in names[:-1]:
            section = section.setdefault(name, {})
        section[names[-1]] = value
        found = answer(document)
        if isinstance(found, RunConfig):
            for number in numbers(found.model_dump()):
                assert math.isfinite(number)
                assert abs(number) < 2**63
                assert number == 0 or abs(number) >= 1e-18


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "z", "kind", "path"]) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_every_option_answers_to_anything(place: tuple[str, tuple[str, ...]], value: Any) -> None:
    document: dict[str, Any] = copy.deepcopy(PLAIN)
    section = document
    for name in place[1][:-1]:
        section = section.setdefault(name, {})
        section = section if isinstance(section, dict) else {}
    section[place[1][-1]] = value
    answer(document)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text("[]{}&*!:,-?|>'\"\n a1", max_size=60))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 2001-99-99", "seed: expected an integer of at least 0, found '2001-99-99'"),
        ("seed: 0x_", "line 1: '0x_' is no valid int: quote it if it is text"),
        ("a: 1\nseed: !!int abc", "line 2: 'abc' is no valid int"),
        ("seed: " + "9" * 5000, "line 1: a number of 5000 characters: expected at most 64"),
        ("seed: 0x" + "f" * 5000, "line 1: a number of 5002 characters"),
        ("seed: 0x" + "f" * 30, "seed: an integer of more than 64 bits"),
        ('input: {path: "a\\0b"}', "input.path: a text with the character U+0000"),
        ('input: {path: "a\\ud800"}', "input.path: a text with the character U+D800"),
        ("input: " + "[" * 3000, "lists and mappings are nested more than 16 deep"),
        ("a: &a [*a]", "line 1: a value contains itself"),
        ("executor: {memory_gib: 1.0e+308}", "executor.memory_gib: 1e+308 is too large: expected at most 1e+06"),
        ("tiling: {core: 10000000}", "tiling.core: 10000000 is too large: expected at most 1048576"),
        ("training: {learning_rate: 1.0e-300}", "learning_rate: 1e-300 is too close to 0: expected at least 1e-18"),
        ("output: {chunk: {y: 0}}", "output.chunk.y: expected an integer above 0, found 0"),
        ("seed: !!timestamp 2001-01-01", "is not supported: quote the value to make it text"),
        ("seed: !!python/object/apply:os.system [ls]", "is not supported: quote the value to make it text"),
        ("x" * 300_000, "is larger than 262144 bytes"),
        ("\x00", "is not valid YAML"),
        ("executor: {dashboard: " + "x" * 5000 + "}", "executor.dashboard: a text of 5000 characters"),
        (f"input: {{path: {'x' * 300}}}", "too long for the file system"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value) or "too long for" in words


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 13)]
    merges = ["b0: &b0 {k0: 1}"] + [f"b{n}: &b{n}\n  <<: [{', '.join([f'*b{n - 1}'] * 10)}]" for n in range(1, 13)]
    for text in ("\n".join(lines), "\n".join(merges), f"{chr(10).join(lines)}\nseed: *a12"):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        started = time.thread_time()
        with pytest.raises(ConfigError, match="more than 20000 values after all aliases"):
            load_config(path)
        assert time.thread_time() - started < 2


@pytest.mark.parametrize("text", ["1:30", "-1:30.5", "017", "12:00:00"])
def test_numbers_to_other_bases_are_text(text: str) -> None:
    """YAML 1.1 makes 90 of 1:30, 15 of 017, and 43200 of 12:00:00."""
    assert parse_yaml(f"seed: {text}") == {"seed": text}
    assert parse_yaml("{a: 0, b: 0.5, c: -10, d: 1_000, e: 0x1f}") == {"a": 0, "b": 0.5, "c": -10, "d": 1000, "e": 31}


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """And `ssi init` could not write it."""
    with pytest.raises(ConfigError, match="is a folder: expected a YAML file"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="is not a regular file"):
        load_config(Path("/dev/null"))


def test_a_folder_may_be_called_like_a_date(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("input: {path: 2026-11-28}\noutput: {path: 2026-11-28T10:00:00Z}\npsf: {kind: identity}\n")
    config = load_config(path)
    assert config.input.path == tmp_path / "2026-11-28"
    assert config.output.path.name == "2026-11-28T10:00:00Z"


def test_shell_may_have_several_lines(tmp_path: Path) -> None:
    document = PLAIN | {"on_end": {"command": "if true\nthen\n\techo\nfi"}}
    assert parse_config(document).on_end.command == "if true\nthen\n\techo\nfi"
    with pytest.raises(ConfigError, match=r"on_end\.command: a text with the character U\+001B"):
        parse_config(PLAIN | {"on_end": {"command": "echo \x1b[2J"}})


def test_a_profile_is_bounded_as_well(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text('partition: "a\\0b"\n')
    document = PLAIN | {"executor": {"kind": "slurm", "workers": 1, "memory_gib": 1, "profile": "site.yaml"}}
    with pytest.raises(ConfigError, match=r"partition: a text with the character U\+0000"):
        parse_config(document, base=tmp_path)


def test_every_number_has_bounds() -> None:
    """A new option that is a plain number would be taken at any size."""
    unbounded = [".".join(names) for names in options(RunConfig) if _accepts(names, 2**63 - 1)]
    assert unbounded == ["seed"]


def _accepts(names: tuple[str, ...], value: Any) -> bool:
    document: dict[str, Any] = copy.deepcopy(PLAIN)
    section: dict[str, Any] = document
    for name in names[:-1]:
        section = section.setdefault(name, {})
    section[names[-1]] = value
    return isinstance(answer(document), RunConfig)


def test_the_template_is_far_from_the_bounds() -> None:
    from ssi_pipeline.config.template import template_text
    from ssi_pipeline.config.yaml_text import MOST_BYTES

    assert len(template_text()) < MOST_BYTES / 10
    assert typing.cast(dict[str, Any], yaml.safe_load(template_text())) == parse_yaml(template_text())
