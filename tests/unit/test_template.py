"""The commented configuration of `ssi init` parses, is complete, and shows the current defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ssi_pipeline.cli import main
from ssi_pipeline.config import (
    ConfocalPsf,
    FilePsf,
    GaussianPsf,
    GibsonLanniPsf,
    IdentityPsf,
    LightSheetPsf,
    RunConfig,
    TwoPhotonPsf,
    VaryingPsf,
    WidefieldPsf,
    flatten,
    load_config,
    parse_config,
)
from ssi_pipeline.config.template import first_template_text, template_text

OPTION = re.compile(r"^( *)#([a-z_0-9]+:(?: .*)?)$")
"""A commented option: no space after the '#', which prose has."""


MOST_OPTIONS = 98
"""Largest number of options; a kind of PSF counts as one."""


def uncommented(text: str | None = None) -> str:
    """A template (by default that of all options) with every option switched on; lines keep their numbers."""
    return "\n".join(OPTION.sub(r"\1\2", line) for line in (text or template_text()).splitlines())


def keys_and_lines(node: yaml.Node, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from keys_and_lines(value, f"{prefix}{key.value}.")


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, default, annotation) of every field except sections."""
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from sections(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", field.get_default(call_default_factory=True), inner


def examples() -> list[dict[str, Any]]:
    """The psf sections that stand in the prose as examples."""
    blocks = re.findall(r"^# psf:\n((?:#   .*\n)+)", template_text(), flags=re.MULTILINE)
    return [yaml.safe_load("\n".join(line[4:] for line in block.splitlines())) for block in blocks]


def test_the_template_is_a_configuration(tmp_path) -> None:
    (tmp_path / "run.yaml").write_text(template_text())
    config = load_config(tmp_path / "run.yaml")
    assert config.input.path == tmp_path / "input.zarr"
    assert config.output.path == tmp_path / "output.zarr"
    assert config.psf[0].kind == "gaussian"
    assert config.tiling.dimensions == 2


def test_switching_every_option_on_changes_nothing() -> None:
    assert parse_config(yaml.safe_load(uncommented())) == parse_config(yaml.safe_load(template_text()))


def test_the_live_keys_are_the_few_that_a_run_needs() -> None:
    live = {key for key, value in flatten(yaml.safe_load(template_text())).items() if value is not None}
    assert live == {
        "input.path",
        "output.path",
        "psf.kind",
        "psf.fwhm_px.y",
        "psf.fwhm_px.x",
        "tiling.dimensions",
    }


def test_every_option_is_in_the_template_with_its_default() -> None:
    lines = dict(keys_and_lines(yaml.compose(uncommented())))
    document = yaml.safe_load(uncommented())
    stale = []
    for name, default, _ in sections(RunConfig):
        if name in ("input.path", "output.path", "psf"):
            continue
        if name not in lines:
            stale.append(f"{name} is not in template.yaml; its default is {default!r}")
            continue
        shown: Any = document
        for key in name.split("."):
            shown = shown[key]
        default = list(default) if isinstance(default, tuple) else default  # YAML knows lists only
        if shown != default or type(shown) is not type(default):
            stale.append(f"template.yaml, line {lines[name]}: {name} is {shown!r}, but the default is {default!r}")
    assert not stale, "\n".join(stale)


def test_the_template_knows_no_option_that_is_gone() -> None:
    known = {name for name, _, _ in sections(RunConfig)}
    known |= {name.rsplit(".", 1)[0] for name in known if "." in name}
    known |= {f"psf.{key}" for key in GaussianPsf.model_fields} | {"psf.fwhm_px.y", "psf.fwhm_px.x"}
    lines = keys_and_lines(yaml.compose(uncommented()))
    assert not [f"template.yaml, line {line}: {key} is gone" for key, line in lines if key not in known]


@pytest.mark.parametrize(
    "model",
    [
        FilePsf,
        GaussianPsf,
        WidefieldPsf,
        GibsonLanniPsf,
        ConfocalPsf,
        LightSheetPsf,
        TwoPhotonPsf,
        VaryingPsf,
        IdentityPsf,
    ],
)
def test_every_kind_of_psf_is_shown_with_all_its_options(model: type[BaseModel]) -> None:
    shown = [yaml.safe_load(uncommented())["psf"], *examples()]
    kind = model.model_fields["kind"].annotation.__args__[0]
    section = next(part for part in shown if part["kind"] == kind)
    assert set(section) == set(model.model_fields)
    for key, field in model.model_fields.items():
        if not field.is_required() and key != "fwhm_px":
            assert section[key] == field.default, f"template.yaml shows psf ({kind}) {key}: {section[key]!r}"


def test_there_are_few_options() -> None:
    names = [name for name, _, _ in sections(RunConfig)]
    assert len(names) <= MOST_OPTIONS, f"{len(names)} options: {', '.join(names)}"


def first_options() -> dict[str, Any]:
    """The options of the short form by name, all switched on; a PSF, or a value by axis, is one."""
    found = {}
    for name, value in yaml.safe_load(uncommented(first_template_text())).items():
        inner = {name: value} if name in ("psf", "solver") else {f"{name}.{key}": v for key, v in value.items()}
        found.update(inner)
    return found


def test_the_short_form_has_ten_options_with_what_the_long_one_says_of_them() -> None:
    shown = first_options()
    assert len(shown) == 10
    full = yaml.safe_load(uncommented())
    full["psf"] = yaml.safe_load(template_text())["psf"]
    for name, value in shown.items():
        place: Any = full
        for key in name.split("."):
            place = place[key]
        assert value == place, name


def test_the_short_and_the_long_form_are_the_same_configuration(tmp_path: Path) -> None:
    made = []
    for extra in ([], ["--full"]):
        path = tmp_path / "run.yaml"
        assert main(["init", str(path), *extra]) == 0
        made.append(load_config(path))
        path.unlink()
    assert made[0] == made[1]
    assert parse_config(yaml.safe_load(uncommented(first_template_text()))).solver == "ssi"
