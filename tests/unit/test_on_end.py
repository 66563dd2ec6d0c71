"""The section on_end: allowed values, and its command appears in no written file."""

from __future__ import annotations

from typing import Any

import pytest

from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.storage.state.document import basis_of

MINIMAL: dict[str, Any] = {
    "input": {"path": "in.zarr"},
    "output": {"path": "out.zarr"},
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 2, "x": 2}},
}
COMMAND = "notify --quietly"


def complaint(**sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config({**MINIMAL, **sections})
    return str(caught.value)


def test_it_is_off_by_default_and_may_be_left_empty() -> None:
    for document in (MINIMAL, {**MINIMAL, "on_end": None}):
        on_end = parse_config(document).on_end
        assert (on_end.command, on_end.timeout_s) == (None, 60)


def test_mistakes_are_explained() -> None:
    assert "on_end.command: is empty: expected a shell command" in complaint(on_end={"command": " "})
    assert "on_end.comand: unknown key; did you mean 'command'?" in complaint(on_end={"comand": "x"})
    assert "on_end.timeout_s: expected an integer above 0, found 0" in complaint(on_end={"timeout_s": 0})


def test_a_wrong_command_is_shown_without_its_secret() -> None:
    said = complaint(on_end={"command": ["TOKEN=abcdef123 notify"]})
    assert "on_end.command: expected text" in said
    assert "abcdef123" not in said


def test_it_is_in_no_dump_and_not_in_the_fingerprint() -> None:
    with_it = parse_config({**MINIMAL, "on_end": {"command": COMMAND, "timeout_s": 5}})
    assert with_it.on_end.command == COMMAND
    assert COMMAND not in with_it.model_dump_json() + repr(with_it) + str(with_it.on_end)
    without = parse_config(MINIMAL)
    assert basis_of(with_it, {}, [], []) == basis_of(without, {}, [], [])
    assert "on_end" not in basis_of(with_it, {}, [], [])["config"]


@pytest.mark.parametrize("where", ["input", "output"])
def test_an_address_is_no_path(where: str) -> None:
    said = complaint(**{where: {"path": "https://ada:abcdef123@example.org/x.zarr"}})
    assert f"{where}.path is 'https://***@example.org/x.zarr', a URL" in said
