"""What would take less time is said where it can be had, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import SERIAL, TINY, config_of, go, make_run, ramp

from ssi_pipeline.cli import main
from ssi_pipeline.run import hints
from ssi_pipeline.run.hints import bfloat16_hint, bfloat16_instructions, volume_hint

NEW = "processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_bf16 amx_bf16 amx_tile\n\n"
OLD = "processor\t: 0\nflags\t\t: fpu sse2 avx2\n\n"


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(NEW)
    monkeypatch.setattr(hints, "_PROCESSORS", tmp_path / "cpuinfo")


@pytest.mark.parametrize(
    ("text", "flag"), [(NEW, "amx_bf16"), (OLD, ""), (NEW.replace("amx_bf16", ""), "avx512_bf16"), ("", "")]
)
def test_the_processor_tells(tmp_path: Path, text: str, flag: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert bfloat16_instructions(tmp_path / "cpuinfo") == flag
    assert bfloat16_instructions(tmp_path / "none") == ""


@pytest.mark.usefixtures("new")
@pytest.mark.parametrize(
    ("device", "sections", "said"),
    [
        ("cpu", {}, True),
        ("cuda", {}, False),
        (None, {}, False),
        ("cpu", {"training": {"precision": "float32"}}, False),
        ("cpu", {"training": {"precision": "bfloat16"}}, False),
        ("cpu", {"solver": "wiener"}, False),
        ("cpu", {"executor": {"kind": "dask", "address": "tcp://host:8786"}}, False),
    ],
    ids=str,
)
def test_it_is_said_where_a_network_trains_on_this_cpu_and_nothing_is_set(
    tmp_path: Path, device: Any, sections: dict[str, Any], said: bool
) -> None:
    config = config_of(make_run(tmp_path / "run", None, **{"solver": "ssi", **sections}))
    assert bool(bfloat16_hint(config, device)) == said


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, True),
        ({"tiling": {"dimensions": 2}}, False),
        ({"solver": "tv_cg"}, False),
        ({"solver": "wiener"}, False),
        ({"training": {"select": "network"}}, False),
        ({"training": {"scope": "shared"}}, False),
    ],
    ids=str,
)
def test_total_variation_is_named_where_it_may_replace_a_network_in_3d(
    tmp_path: Path, sections: dict[str, Any], said: bool
) -> None:
    changes = {"solver": "ssi", "tiling": {"dimensions": 3}, **sections}
    assert ("tv_cg" in volume_hint(config_of(make_run(tmp_path / "run", None, **changes)))) == said


def test_a_plan_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for dimensions in (2, 3):
        sections = {"solver": "ssi", "psf": {"kind": "identity"}, "tiling": {"dimensions": dimensions}}
        path = make_run(tmp_path / str(dimensions), ramp((16, 32, 32)), **sections)
        assert main(["plan", str(path)]) == 0
        assert ("solver: tv_cg takes" in capsys.readouterr().out.replace("\n", " ")) == (dimensions == 3)


@pytest.mark.usefixtures("new")
def test_a_run_says_it_at_its_first_start_only(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", ramp((1, 32, 32)), solver="ssi", executor=SERIAL, **TINY)
    for _ in range(2):
        go(path, retry_failed=True)
    log = (config_of(path).state_path / "run.log").read_text()
    assert log.count("this processor has bfloat16 (amx_bf16)") == 1
