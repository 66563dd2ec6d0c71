"""The JSON schema accepts and refuses the same as loading, as far as a single section determines it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ssi_pipeline.cli import main
from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.config.schema import _FIELDS, _INSTEAD, _SECTIONS, config_schema
from ssi_pipeline.config.template import template_text
from ssi_pipeline.errors import ConfigError
from tests.unit.test_template import examples, uncommented

VALIDATOR = jsonschema.Draft202012Validator(config_schema())
WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.yaml"))
PLAIN: dict[str, Any] = {"input": {"path": "in.zarr"}, "output": {"path": "out.zarr"}, "psf": {"kind": "identity"}}


def valid(document: Any) -> bool:
    return bool(VALIDATOR.is_valid(document))


def loads(document: Any) -> bool:
    try:
        parse_config(copy.deepcopy(document))
    except ConfigError:
        return False
    return True


def put(document: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a dotted name; sections on the way are made."""
    changed = copy.deepcopy(document)
    *sections, key = name.split(".")
    place = changed
    for section in sections:
        if not isinstance(place.get(section), dict):
            place[section] = {}
        place = place[section]
    place[key] = value
    return changed


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_workflow_is_valid(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("text", [template_text(), uncommented()], ids=["template", "template, all options on"])
def test_the_template_is_valid(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))


def test_the_psfs_of_the_template_and_lists_of_them_are_valid() -> None:
    assert len(examples()) >= 4
    for psf in examples():
        VALIDATOR.validate({**PLAIN, "psf": psf})
        VALIDATOR.validate({**PLAIN, "psf": [psf, {"kind": "identity"}]})


RIGHT = [
    ("output.ome_zarr", 0.4),
    ("executor.slurm.walltime", yaml.safe_load("12:00:00")),
    ("executor.slurm.walltime", "2-00:00:00"),
    ("training.learning_rate", yaml.safe_load("1e-3")),
    ("training.steps", "200"),
    ("training.steps", 200.0),
    ("training.bounds", None),
    ("training", None),
    ("executor.slurm", None),
    ("tiling.core", 64),
    ("tiling.core", {"y": 64}),
    ("input.roi", {"z": [0, 4]}),
    ("network.context", {"z": 1, "t": 0}),
    ("sensor.low", "none"),
    ("sensor.low", -5),
    ("training.keep_models", "yes"),
    ("output.pyramid", 0),
    ("executor.dashboard", "127.0.0.1:8787"),
    ("on_end", {"command": "true", "timeout_s": 5}),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_is_right(name: str, value: Any) -> None:
    document = put(PLAIN, name, value)
    assert loads(document)
    VALIDATOR.validate(document)


WRONG = [
    ("input", None),
    ("input.path", None),
    ("input.path", ""),
    ("input.path", 7),
    ("input.axes", "xyzz"),
    ("input.axes", "zx"),
    ("input.level", -1),
    ("input.voxel_size_um", {"z": 0}),
    ("input.voxel_size_um", {"w": 1}),
    ("input.roi", {"z": [1]}),
    ("network.context", {"c": 1}),
    ("network.context", {"z": 4}),
    ("output.ome_zarr", "0.3"),
    ("output.ome_zarr", 0.6),
    ("output.dtype", "uint8"),
    ("output.uncertainty", 257),
    ("output.uncertainty", -1),
    ("psf", []),
    ("psf", None),
    ("psf", {"kind": "gauss"}),
    ("psf", {"kind": "gaussian"}),
    ("psf", {"kind": "gaussian", "fwhm_px": {"y": 1}, "fwhm_um": {"y": 1}}),
    ("psf", {"kind": "gaussian", "fwhm_px": {"y": 0}}),
    ("psf", {"kind": "identity", "path": "a.tif"}),
    ("solver", "magic"),
    ("tiling.dimensions", 4),
    ("tiling.core", 0),
    ("tiling.core", {"y": -1}),
    ("sensor.impulse_share", 1),
    ("masking.density", 0.6),
    ("network.levels", 6),
    ("training.steps", 0),
    ("training.steps", "0"),
    ("training.steps", 1.5),
    ("training.steps", True),
    ("training.learning_rate", "-1e-3"),
    ("training.learning_rate", "0.0"),
    ("training.learning_rate", "fast"),
    ("training.stpes", 5),
    ("training.keep_models", "perhaps"),
    ("training.keep_models", 2),
    ("executor.kind", "slurm"),
    ("executor.dashboard", "8787"),
    ("executor.slurm.walltime", "00:00:30"),
    ("executor.slurm.walltime", 30),
    ("executor.slurm.partition", "a\nb"),
    ("on_end.command", " "),
    ("on_end.timeout_s", 0),
    ("seed", -1),
    ("seed", None),
    ("schema_version", 2),
    ("sede", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_wrong_is_refused_by_both(name: str, value: Any) -> None:
    document = put(PLAIN, name, value)
    assert not loads(document)
    assert not valid(document)


def leaves(document: Any, prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        yield prefix + key
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")


VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 40, 0.4, 0.55, 1.5, 2.0, 1e9, -0.5, 10**6),
    *("", " ", "0", "1", "-3", "1.5", "1e-3", "auto", "none", "a", "yes", "z", "yx", "04:00:00", "host:1", "0.5"),
    *(
        [],
        [0],
        [0, 5],
        {},
        {"z": 1},
        {"y": 16, "x": 16},
        {"y": 0},
        {"q": 1},
        {"kind": "identity"},
        [{"kind": "identity"}],
    ),
]

BEYOND = {
    "output.uncertainty": "1 disagrees with nothing",
    "tiling.blend": "z, and tiles in 2D",
    "executor.profile": "there is no such file",
}
"""Options of which loading knows something that a schema cannot say."""


def is_number_as_text(value: Any) -> bool:
    """Of these a schema knows the sign and no other bound."""
    try:
        return isinstance(value, str) and float(value) >= 0
    except ValueError:
        return False


def test_every_option_with_values_of_every_type() -> None:
    document = yaml.safe_load(uncommented())
    refused, passed = [], []
    for name in leaves(document):
        for value in VALUES:
            changed = put(PLAIN, name, value)
            good, taken = valid(changed), loads(changed)
            if taken and not good:
                refused.append((name, value))
            if good and not taken and name not in BEYOND and not is_number_as_text(value):
                passed.append((name, value))
    assert not refused
    assert not passed


def test_the_tables_name_fields_that_exist() -> None:
    definitions = {**config_schema()["$defs"], "RunConfig": config_schema()}
    for name in (*_FIELDS, *_INSTEAD):
        section, key = name.split(".")
        assert key in definitions[section]["properties"]
    assert _SECTIONS.keys() <= definitions.keys()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema()
    assert set(config_schema()["properties"]) == set(RunConfig.model_fields)
