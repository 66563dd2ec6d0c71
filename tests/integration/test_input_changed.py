"""An input that changes between or during runs: an output of mixed inputs is never marked complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
import zarr
from builders import TINY, beads, complete, config_of, go, hashes, make_run, ramp, records, write_zarr
from numpy.typing import NDArray

import ssi_pipeline.run.session as session
import ssi_pipeline.storage.inputs.zarr_source as zarr_source
from ssi_pipeline.cli import main
from ssi_pipeline.errors import RunChangedError, StoppedError
from ssi_pipeline.executors import Completed
from ssi_pipeline.executors.serial import SerialExecutor
from ssi_pipeline.run import finish_parts, run_part
from ssi_pipeline.run.checks.verify_input import verify_input
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.source import spec_of
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.lock import run_lock
from ssi_pipeline.storage.state.made_from import pixel_digest, read_stamp
from ssi_pipeline.storage.state.parts import Part, part_lock
from ssi_pipeline.storage.state.records import Job
from ssi_pipeline.tasks import RunSpec
from ssi_pipeline.tasks import samples as measure
from ssi_pipeline.tasks.opening import open_context
from ssi_pipeline.tasks.samples import sample_places
from ssi_pipeline.tasks.training_tiles import training_places

SIDE = 512
PATCHES = ((200, 72), (20, 100))
"""Corners y x of two patches in the first half of the tiles, between the regions that the identity looks at."""


class After(SerialExecutor):
    """Runs as the serial executor does, job by job; does something when so many tiles are recorded."""

    def __init__(self, spec: RunSpec, tiles: int, then: Callable[[], None]) -> None:
        super().__init__(spec)
        self._left, self._then = tiles, then

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            super().submit([job])

    def completed(self, timeout: float) -> list[Completed]:
        if self._left == 0:
            self._left = -1
            self._then()
        found = super().completed(timeout)
        self._left -= sum(record.kind == "solve" for batch in found for record in batch.records)
        return found


def after(monkeypatch: pytest.MonkeyPatch, tiles: int, then: Callable[[], None]) -> None:
    monkeypatch.setattr(session, "open_executor", lambda _, spec, say, client: After(spec, tiles, then))


def interrupted_after(monkeypatch: pytest.MonkeyPatch, config: Path, tiles: int) -> None:
    """Run until so many tiles are done, and be killed there."""

    def kill() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        after(patch, tiles, kill)
        assert go(config).interrupted


def change(path: Path, patches: Sequence[tuple[int, int]] = PATCHES) -> None:
    array = zarr.open_array(path, mode="r+")
    for y, x in patches:
        array[0, y : y + 4, x : x + 4] = np.asarray(array[0, y : y + 4, x : x + 4]) + 1


def run_of_64(folder: Path, blend: int = 0, solver: str = "identity", **sections: Any) -> Path:
    """Quality is not the question here: its metrics invert each tile five times more."""
    tiling = {"core": 64, "blend": blend}
    image = beads((1, SIDE, SIDE))
    return make_run(folder, image, solver=solver, tiling=tiling, **sections)


def changed_tiles(text: str) -> list[str]:
    return [line.strip().split(":")[0] for line in text.splitlines() if line.startswith("  tile ")]


@pytest.mark.parametrize(("blend", "solver"), [pytest.param(0, "wiener", marks=pytest.mark.long), (8, "identity")])
def test_two_patches_change_after_30_of_64_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blend: int, solver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, config = (run_of_64(folder, blend, solver) for folder in (tmp_path / "whole", tmp_path))
    good = hashes(complete(whole))
    interrupted_after(monkeypatch, config, 30)
    shutil.copytree(tmp_path / "in.zarr", tmp_path / "kept.zarr")
    before = identity(spec_of(config_of(config).input))
    change(tmp_path / "in.zarr")
    assert identity(spec_of(config_of(config).input)) == before  # the eight regions do not see it
    solved = len(records(config, "solve"))
    assert solved == 30
    with pytest.raises(RunChangedError) as refusal:
        go(config)
    text = str(refusal.value)
    assert f" of {solved} solved tiles were computed from other pixels" in text
    tiles = changed_tiles(text)
    assert {"tile 25", "tile 1"} <= set(tiles)  # the cores that hold the patches
    assert "tile 30" not in tiles
    assert "restore the input" in text
    assert "--new" in text
    assert main(["run", str(config)]) == 2
    assert "tile 25" in capsys.readouterr().err
    assert len(records(config, "solve")) == solved
    # put back, its times are others and its pixels are the same
    shutil.rmtree(tmp_path / "in.zarr")
    shutil.copytree(tmp_path / "kept.zarr", tmp_path / "in.zarr")
    os.utime(tmp_path / "in.zarr" / "c" / "0" / "0" / "0")
    assert hashes(complete(config)) == good
    assert f"the pixels of all {solved} solved tiles were read again and are unchanged" in capsys.readouterr().err
    complete(config)
    assert "were read again" not in capsys.readouterr().err  # the new times are known now


def test_a_change_during_the_run_ends_it_as_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_of_64(tmp_path)
    shutil.copytree(tmp_path / "in.zarr", tmp_path / "kept.zarr")
    with monkeypatch.context() as patch:
        after(patch, 30, lambda: change(tmp_path / "in.zarr"))
        with pytest.raises(StoppedError, match="solved tiles were computed from other pixels") as stopped:
            go(config)
    assert "tile 25" in changed_tiles(str(stopped.value))
    output = config_of(config).output.path
    assert zarr.open_group(output, mode="r").attrs["ssi_pipeline"]["status"] == "incomplete"  # type: ignore[index]
    with pytest.raises(RunChangedError, match="tile 25"):
        go(config)
    shutil.rmtree(tmp_path / "in.zarr")
    shutil.move(tmp_path / "kept.zarr", tmp_path / "in.zarr")
    assert hashes(complete(config)) == hashes(complete(run_of_64(tmp_path / "other")))


def test_a_change_that_was_undone_is_found_by_the_tile_made_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels at the end are those at the start, and one tile has others."""
    config = run_of_64(tmp_path)
    shutil.copytree(tmp_path / "in.zarr", tmp_path / "kept.zarr")

    class Between(After):
        def completed(self, timeout: float) -> list[Completed]:
            found = super().completed(timeout)
            if any(record.key == "solve/25" for batch in found for record in batch.records):
                shutil.rmtree(tmp_path / "in.zarr")
                shutil.copytree(tmp_path / "kept.zarr", tmp_path / "in.zarr")
            return found

    then = partial(change, tmp_path / "in.zarr", [(204, 78)])
    monkeypatch.setattr(session, "open_executor", lambda _, spec, say, client: Between(spec, 25, then))
    with pytest.raises(StoppedError, match="1 of 64 solved tiles were computed from other pixels") as stopped:
        go(config)
    assert changed_tiles(str(stopped.value)) == ["tile 25"]


@pytest.mark.parametrize("kind", ["zarr", "tiff"])
def test_a_copy_is_the_same_input_and_a_quiet_change_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    image = beads((1, SIDE, SIDE))
    name = f"in.{kind[:3] if kind == 'tiff' else kind}"

    def write(values: NDArray[Any]) -> None:
        if kind == "zarr":
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            write_zarr(tmp_path / name, values, "zyx")
        else:
            tifffile.imwrite(tmp_path / name, values[0])

    config = make_run(tmp_path, None, tiling={"core": 64}, input={"path": name})
    write(image)
    interrupted_after(monkeypatch, config, 30)
    other = image.copy()
    other[0, 204, 78] += 1
    file = next(f for f in [tmp_path / name, *(tmp_path / name).rglob("*")] if f.is_file())
    times = file.stat()
    write(other)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as cp -p and rsync -t do
    with pytest.raises(RunChangedError, match="tile 25"):
        go(config)
    write(image)
    complete(config)
    assert not verify_input(config_of(config)).changed


def test_verify_input_proves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of_64(tmp_path)
    complete(config)
    assert main(["verify", "--input", str(config)]) == 0
    assert "64 of 64 solved tiles match the current input" in capsys.readouterr().out
    change(tmp_path / "in.zarr", [(200, 72)])
    assert main(["verify", str(config)]) == 0  # the output is what was written
    assert main(["verify", "--input", str(config)]) == 1
    found = capsys.readouterr().out
    assert "tile 25: t 0, c 0, zyx" in found
    assert "from other pixels" in found


def test_a_calibration_made_from_other_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_of_64(tmp_path)
    interrupted_after(monkeypatch, config, 1)
    before = identity(spec_of(config_of(config).input))
    change(tmp_path / "in.zarr", [(500, 300), (300, 500), (100, 300), (440, 90)])  # far from the first tiles
    assert identity(spec_of(config_of(config).input)) == before
    with pytest.raises(RunChangedError, match="calibration of channel 0"):
        go(config)


def test_what_could_not_be_read_is_damage_and_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_run(tmp_path, ramp((1, SIDE, SIDE)), tiling={"core": 64})
    interrupted_after(monkeypatch, config, 30)
    chunk = tmp_path / "in.zarr" / "c" / "0" / "6" / "2"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-9])
    outcome = go(config)
    assert outcome.tiles_failed == 0  # the tile of that chunk was done before
    assert not verify_input(config_of(config)).changed
    assert verify_input(config_of(config)).unreadable > 0
    chunk.write_bytes(content)
    complete(config)
    assert verify_input(config_of(config)).unreadable == 0


@pytest.mark.long
def test_tiles_of_an_earlier_release_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_of_64(tmp_path)
    interrupted_after(monkeypatch, config, 30)
    paths = StatePaths(config_of(config).state_path)
    lines = paths.ledger.read_text().splitlines()
    paths.ledger.write_text(
        "".join(json.dumps({k: v for k, v in json.loads(line).items() if k != "source"}) + "\n" for line in lines)
    )
    paths.input_stamp.unlink()
    solved = len(records(config, "solve"))
    complete(config)
    assert f"{solved} tiles were solved by an earlier release, without digests" in capsys.readouterr().err


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_run_of_an_earlier_release_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zarr_format: Literal[2, 3], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first releases digested the bytes of the metadata files, not what they say: another digest of the same."""
    image = beads((1, 128, 128)).astype("f4")
    array = zarr.create_array(tmp_path / "in.zarr", data=image, chunks=(1, 32, 32), zarr_format=zarr_format)
    metadata = tmp_path / "in.zarr" / ("zarr.json" if zarr_format == 3 else ".zattrs")
    before = metadata.read_text()
    config = make_run(tmp_path, None, input={"axes": "zyx"})
    with monkeypatch.context() as patch:
        patch.setattr(zarr_source, "_digest", lambda content: hashlib.sha256(content).hexdigest()[:16])
        interrupted_after(patch, config, 7)
    paths = StatePaths(config_of(config).state_path)
    lines = map(json.loads, paths.ledger.read_text().splitlines())
    paths.ledger.write_text("".join(f"{json.dumps({k: v for k, v in n.items() if k != 'source'})}\n" for n in lines))
    paths.input_stamp.unlink()
    assert not verify_input(config_of(config)).changed
    array.attrs["of"] = "another image"
    with pytest.raises(RunChangedError, match=r"input\.metadata\."):
        go(config)
    metadata.write_text(before)
    complete(config)
    said = capsys.readouterr().err
    assert "7 tiles were solved by an earlier release, without digests" in said
    assert "in regions with many NaN" in said
    assert main(["verify", "--input", str(config)]) == 0


@pytest.mark.long
def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of_64(tmp_path)
    complete(config)
    file = StatePaths(config_of(config).state_path).input_stamp
    stamp = read_stamp(file)
    for damage in (b"", b"\0" * 50, b"[]", b"{}"):
        file.write_bytes(damage)
        complete(config)
        assert "all 64 solved tiles were read again and are unchanged" in capsys.readouterr().err
        assert read_stamp(file) == stamp


@pytest.mark.long
def test_parts_of_one_run_see_a_change_of_another_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_of_64(tmp_path, blend=8)
    assert run_part(config_of(config), Part(2, 1)).complete
    shutil.copytree(tmp_path / "in.zarr", tmp_path / "kept.zarr")
    change(tmp_path / "in.zarr", [(204, 78)])
    with pytest.raises(RunChangedError, match="tile 25"):
        run_part(config_of(config), Part(2, 2))
    assert not finish_parts(config_of(config)).complete
    shutil.rmtree(tmp_path / "in.zarr")
    shutil.copytree(tmp_path / "kept.zarr", tmp_path / "in.zarr")
    assert run_part(config_of(config), Part(2, 2)).complete
    assert "the pixels of all 32 solved tiles were read again" in capsys.readouterr().err
    assert finish_parts(config_of(config)).complete


@pytest.mark.long
def test_parts_at_work_leave_the_last_word_to_the_finish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another part is reading just now cannot be compared: the times that are recorded stay the earlier ones."""
    monkeypatch.setattr(measure, "_SAMPLES", 1)
    config = run_of_64(tmp_path, blend=8)
    paths = StatePaths(config_of(config).state_path)
    assert run_part(config_of(config), Part(3, 1)).complete
    stamp, before = read_stamp(paths.input_stamp), identity(spec_of(config_of(config).input))
    ((_, sampled),) = sample_places(open_context(config_of(config)), 0, 1)[0]
    x = 400 if sampled.start[1:] == (256, 0) else 140  # corners are looked at for fill
    change(tmp_path / "in.zarr", [(466, x)])  # a tile of the third part, and of no sample
    assert identity(spec_of(config_of(config).input)) == before
    with run_lock(part_lock(paths, Part(3, 3)), "a part that works"):
        assert run_part(config_of(config), Part(3, 2)).complete
    assert read_stamp(paths.input_stamp) == stamp
    assert run_part(config_of(config), Part(3, 3)).complete
    capsys.readouterr()
    assert finish_parts(config_of(config)).complete
    assert read_stamp(paths.input_stamp) != stamp


def test_dask_workers_record_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dask = {"kind": "dask", "workers": 2, "device": "cpu"}
    config, serial = run_of_64(tmp_path / "dask", executor=dask), run_of_64(tmp_path / "serial")
    complete(config)
    complete(serial)
    found, expected = ({r.index: r.source for r in records(path, "solve")} for path in (config, serial))
    assert found == expected
    assert len(set(found.values())) == 64
    assert records(config, "calibrate")[0].source == records(serial, "calibrate")[0].source
    assert not records(config, "stitch")[0].source


def test_a_shared_network_made_from_other_pixels_is_refused(tmp_path: Path) -> None:
    tiny = {**TINY, "training": {**TINY["training"], "scope": "shared", "steps": 40, "shared_tiles": 1}}
    config = make_run(tmp_path, beads((1, 64, 1024)), solver="ssi", tiling={"core": 64}, **tiny)
    complete(config)
    before = identity(spec_of(config_of(config).input))
    change(tmp_path / "in.zarr", [(30, 100 + 137 * i) for i in range(7)])  # between the regions of the identity
    assert identity(spec_of(config_of(config).input)) == before
    with pytest.raises(RunChangedError) as refusal:
        go(config)
    assert "tile 1:" in str(refusal.value)
    changed = verify_input(config_of(config)).changed  # all of them
    context = open_context(config_of(config))
    ((_, domain),) = training_places(context, 0, 1)
    trained_on = next(i for i in range(16) if context.plan.tile(i).domain == domain)
    assert any(line.startswith(f"tile {trained_on}:") for line in changed)
    assert "shared network of channel 0" in changed


def test_a_big_endian_copy_is_the_same(tmp_path: Path) -> None:
    values = beads((1, 64, 64))
    assert pixel_digest(values) == pixel_digest(values.astype(">u2"))
    assert pixel_digest(values) == pixel_digest(np.asfortranarray(values[0])[None])
    assert pixel_digest(values) != pixel_digest(values + 1)
