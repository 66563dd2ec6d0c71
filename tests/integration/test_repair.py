"""Damaged small files of a complete run: repaired by the next start, reported by verify and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from builders import beads, complete, config_of, go, hashes, image_files, make_run, ramp, records
from damage import BLENDED, HARMS, copied, cut_ledger, empty, ledger_of, said, with_garbage, with_zeros

from ssi_pipeline.cli import main
from ssi_pipeline.errors import OutputError
from ssi_pipeline.results.status import describe_status, read_status
from ssi_pipeline.run import finish_parts, run_part, verify
from ssi_pipeline.storage.outputs.output import read_status as read_output_status
from ssi_pipeline.storage.state.ledger import read_records
from ssi_pipeline.storage.state.parts import Part


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both formats, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    for version in ("0.5", "0.4"):
        output = {"ome_zarr": version, "uncertainty": 2}
        complete(make_run(folder / version, beads((1, 64, 96)), solver="wiener", tiling=BLENDED, output=output))
    return folder


METADATA = {
    "0.5": ("zarr.json", "0/zarr.json", "uncertainty/zarr.json", "uncertainty/0/zarr.json"),
    "0.4": (".zattrs", ".zgroup", "0/.zarray", "uncertainty/.zattrs", "uncertainty/.zgroup", "uncertainty/0/.zarray"),
}


# the metadata of the output


def document_of(path: Path) -> Any:
    """Read a JSON file, without the path of the input and the calls, of which a repair is one more."""
    document = json.loads(path.read_bytes())
    attributes = document.get("attributes", document)
    if "ssi_pipeline" in attributes:
        for name in ("input_path", "end", "calls", "n_calls"):
            attributes["ssi_pipeline"]["provenance"].pop(name)
    return document


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("version", ["0.5", pytest.param("0.4", marks=pytest.mark.long)])
def test_metadata_of_the_output_are_made_again(
    finished: Path, tmp_path: Path, version: str, harm: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied(finished / version, tmp_path)
    output = tmp_path / "out.zarr"
    good = {name: document_of(output / name) for name in METADATA[version]}
    image = hashes(output)
    for name in METADATA[version]:
        harm(output / name)
        assert main(["verify", str(config)]) == 1
        assert str(output / name) in said(capsys)
        outcome = go(config)
        assert outcome.complete
        assert outcome.computed_tiles == 0
        assert f"{output / name} was" in said(capsys)
        assert document_of(output / name) == good[name]
    assert hashes(output) == image
    assert verify(config_of(config)).good
    assert read_output_status(output) == "complete"


def test_what_can_still_be_read_of_metadata_is_kept(finished: Path, tmp_path: Path) -> None:
    config = copied(finished / "0.5", tmp_path)
    group = tmp_path / "out.zarr" / "zarr.json"
    document = json.loads(group.read_bytes())
    del document["attributes"]["ome"]["multiscales"]
    document["attributes"] |= {"note": "by hand"}
    group.write_text(json.dumps(document))
    array = tmp_path / "out.zarr" / "0" / "zarr.json"
    halved = json.loads(array.read_bytes())
    halved["shape"][-1] //= 2
    halved["attributes"] = {"colour": "red"}
    array.write_text(json.dumps(halved))
    found = verify(config_of(config))
    assert len(found.damage) == 2
    assert "shape is [1, 64, 48], expected [1, 64, 96]" in found.damage[1]
    complete(config)
    assert zarr.open_array(array.parent, mode="r").shape == (1, 64, 96)
    assert json.loads(array.read_bytes())["attributes"] == {"colour": "red"}
    attributes = json.loads(group.read_bytes())["attributes"]
    assert attributes["note"] == "by hand"
    assert attributes["ome"]["multiscales"]


def test_metadata_lost_in_the_middle_of_a_run(tmp_path: Path) -> None:
    config = make_run(tmp_path, ramp((1, 64, 96)), tiling=BLENDED)
    good = hashes(complete(config))
    cut_ledger(config, 6)
    empty(tmp_path / "out.zarr" / "zarr.json")
    assert hashes(complete(config)) == good


def test_without_metadata_only_the_recorded_voxels_prove_whose_output_it_is(tmp_path: Path) -> None:
    config = make_run(tmp_path / "a", ramp((1, 64, 96)), tiling=BLENDED)
    other = make_run(tmp_path / "b", ramp((1, 64, 96), seed=1), tiling=BLENDED)
    complete(config)
    before = hashes(complete(other))
    shutil.rmtree(tmp_path / "a" / "out.zarr")
    shutil.copytree(tmp_path / "b" / "out.zarr", tmp_path / "a" / "out.zarr")
    empty(tmp_path / "a" / "out.zarr" / "zarr.json")
    with pytest.raises(OutputError, match="its voxels do not match the digests"):
        go(config)
    assert hashes(tmp_path / "a" / "out.zarr") == before


@pytest.mark.parametrize("content", ['{"zarr_format": 3, "node_type": "group", "attributes": {}}', None])
def test_a_folder_with_other_things_is_never_taken_for_a_damaged_output(
    finished: Path, tmp_path: Path, content: str | None
) -> None:
    config = copied(finished / "0.5", tmp_path)
    group = tmp_path / "out.zarr" / "zarr.json"
    if content is None:
        group.unlink()
        (tmp_path / "out.zarr" / "thesis.txt").write_text("years of work")
    else:
        group.write_text(content)
    for new in (False, True):
        with pytest.raises(OutputError, match="was not written by ssi"):
            go(config, new=new)


# the ledger


@pytest.mark.parametrize(
    ("blend", "harm"),
    [(8, with_garbage), *(pytest.param(blend, with_zeros, marks=pytest.mark.long) for blend in (0, 8))],
)
def test_a_damaged_line_costs_its_task_and_no_other(
    tmp_path: Path, blend: int, harm: Callable[[Path, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path / "whole", ramp((1, 64, 300)), tiling={"core": {"y": 64, "x": 100}, "blend": blend})
    good = hashes(complete(config))
    kinds = [record.kind for record in read_records(ledger_of(config))]
    for number in [kinds.index("calibrate"), kinds.index("solve"), kinds.index("stitch"), kinds.index("pyramid")]:
        kind, folder = kinds[number], tmp_path / f"line{number}"
        shutil.copytree(tmp_path / "whole", folder)
        damaged = folder / "run.yaml"
        harm(ledger_of(damaged), number)
        assert f"1 line of {ledger_of(damaged)} cannot be read (line {number + 1})" in " ".join(
            text for _, text in describe_status(read_status(config_of(damaged)))
        )
        found = verify(config_of(damaged))
        assert any("cannot be read" in text for text in found.damage)
        capsys.readouterr()
        outcome = go(damaged)
        assert outcome.complete
        words = said(capsys)
        assert f"(line {number + 1})" in words
        assert "(line " in (config_of(damaged).state_path / "run.log").read_text()
        assert hashes(folder / "out.zarr") == good
        solved_again = outcome.computed_tiles
        # the tiles of a block have left the scratch
        assert solved_again == {"solve": 1, "stitch": 2 if blend else 1}.get(kind, 0)
        status = read_status(config_of(damaged))
        assert (status.tiles_done, status.unreadable) == (3, ())
        assert verify(config_of(damaged)).good
        assert len(list(ledger_of(damaged).parent.glob("ledger.jsonl.damaged-*"))) == 1
        assert "cannot be read" not in said(capsys)
        assert go(damaged).computed_tiles == 0
        assert "cannot be read" not in said(capsys)


@pytest.mark.parametrize("end", [b"", b"\0" * 5000])
def test_a_block_of_zeros_with_good_lines_after_it(tmp_path: Path, end: bytes) -> None:
    """As a machine that lost power leaves them; an earlier version of us may have appended after that."""
    config = make_run(tmp_path, ramp((1, 64, 300)), tiling={"core": {"y": 64, "x": 100}, "blend": 8})
    good = hashes(complete(config))
    lines = ledger_of(config).read_bytes().splitlines(keepends=True)
    ledger_of(config).write_bytes(b"".join(lines[:4]) + bytes(5000) + b"".join(lines[7:]) + end)
    assert hashes(complete(config)) == good
    assert b"\0" not in ledger_of(config).read_bytes()
    assert read_status(config_of(config)).tiles_done == 3


def test_a_lost_line_that_took_a_block_back_does_not_make_it_good(tmp_path: Path) -> None:
    """What verify found and recorded is found again, though the file has the size that was recorded."""
    config = make_run(tmp_path, ramp((1, 64, 96)), tiling=BLENDED)
    good = hashes(complete(config))
    file = image_files(tmp_path / "out.zarr")[0]
    harmed = bytearray(file.read_bytes())
    harmed[len(harmed) // 3] ^= 1
    file.write_bytes(harmed)
    assert not verify(config_of(config)).good
    lines = ledger_of(config).read_bytes().splitlines(keepends=True)
    assert b'"invalid"' in lines[-1]
    ledger_of(config).write_bytes(b"".join(lines[:-1]) + b"what?\n")
    assert hashes(complete(config)) == good


def test_a_level_made_before_what_is_below_it_is_made_again(tmp_path: Path) -> None:
    """The line that took the level back is lost; its voxels are what was recorded, but not what they should be."""
    config = make_run(tmp_path, ramp((1, 64, 600)), tiling={"core": {"y": 64, "x": 100}})
    complete(config)
    image_files(tmp_path / "out.zarr")[0].unlink()
    complete(config)
    lines = ledger_of(config).read_bytes().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if b"was rewritten" in line)
    last = max(i for i, line in enumerate(lines) if b"was rewritten" in line)
    ledger_of(config).write_bytes(b"".join(lines[:first]) + b"\0\n" * (last + 1 - first))
    before = len(records(config, "pyramid"))
    complete(config)
    later = records(config, "pyramid")[before:]
    assert [r.status for r in later] == ["invalid"] * 2 + ["done"] * 2
    assert "older than its tiles" in str(later[0].error)


@pytest.mark.parametrize("again", ["the part", "the finish"])
def test_a_damaged_line_of_a_part(tmp_path: Path, again: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_run(tmp_path / "whole", ramp((2, 64, 64)), tiling=BLENDED)
    good = hashes(complete(config))
    config = make_run(tmp_path / "parts", ramp((2, 64, 64)), tiling=BLENDED)
    for number in (1, 2):
        run_part(config_of(config), Part(2, number), log=print)
    ledger = config_of(config).state_path / "ledger-part-1-of-2.jsonl"
    lines = ledger.read_bytes().splitlines()
    with_zeros(ledger, next(i for i, line in enumerate(lines) if b'"stitch"' in line))
    capsys.readouterr()
    if again == "the part":
        assert run_part(config_of(config), Part(2, 1), log=print).complete
        assert f"of {ledger} cannot be read" in said(capsys)
    outcome = finish_parts(config_of(config), log=print)
    if again == "the finish" and not outcome.complete:  # a block's tiles may have left the scratch: the part's to do
        run_part(config_of(config), Part(2, 1), log=print)
        outcome = finish_parts(config_of(config), log=print)
    assert outcome.complete
    assert hashes(tmp_path / "parts" / "out.zarr") == good
    assert verify(config_of(config)).good
    assert list(config_of(config).state_path.glob("ledger*.damaged-*"))
