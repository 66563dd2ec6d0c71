"""Many images in one run: a plate, a series and a folder, killed, resumed, verified and repaired as one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from builders import GAUSSIAN, SERIAL, TINY, beads, level
from plates import write_image, write_plate, write_plate_table, write_series

from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import ConfigError, InputError, OutputError, RunChangedError
from ssi_pipeline.exit_status import ExitStatus
from ssi_pipeline.results.collection import read_collection
from ssi_pipeline.run import run
from ssi_pipeline.run.images.call import ImagesRequest
from ssi_pipeline.run.images.driver import run_images
from ssi_pipeline.run.images.planning import plan_images
from ssi_pipeline.run.images.verify import verify_images
from ssi_pipeline.run.outcome import ImagesOutcome
from ssi_pipeline.storage.inputs.images import list_images
from ssi_pipeline.storage.state.collection import Collection, open_collection
from ssi_pipeline.storage.state.ledger import read_records

WIENER: dict[str, Any] = {"psf": GAUSSIAN, "solver": "wiener", "tiling": {"core": 32}, "executor": SERIAL}


def configure(folder: Path, images: str, path: str = "plate.zarr", name: str = "run.yaml", **sections: Any) -> Path:
    """Write a configuration of many images."""
    document = {"input": {"path": path, "images": images}, "output": {"path": "out.zarr"}, **WIENER}
    for key, value in sections.items():
        document[key] = {**document[key], **value} if key in ("input", "output", "executor") else value
    (folder / name).write_text(yaml.safe_dump(document))
    return folder / name


def go(file: Path, **request: Any) -> ImagesOutcome:
    """Run a configuration."""
    return run_images(load_config(file), ImagesRequest(**request), log=lambda _: None)


def collection_of(file: Path) -> Collection:
    return open_collection(load_config(file))


def voxels(output: Path) -> dict[str, str]:
    """Return a digest of every file of every level of every image, and of the metadata around the images."""
    files = [p for p in output.rglob("*") if p.is_file() and not {"quality"} & set(p.relative_to(output).parts)]
    images = {p.parent for p in output.rglob("quality")}
    kept = [p for p in files if p.parent not in images and p.parent != output]
    return {str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def plate_of(output: Path) -> Any:
    return zarr.open_group(output, mode="r").attrs["ome"]["plate"]


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plate of 2 x 2 wells and its complete run; tests copy what they change."""
    folder = tmp_path_factory.mktemp("plate")
    write_plate(folder / "plate.zarr", 2, 2)
    file = configure(folder, "*/*/0")
    outcome = go(file)
    assert outcome.complete
    assert (outcome.images, outcome.tiles_done, outcome.exit_status) == (4, 4, ExitStatus.COMPLETE)
    return file


def copied(file: Path, folder: Path) -> Path:
    """Return the configuration of a copy."""
    shutil.copytree(file.parent, folder, dirs_exist_ok=True)
    return folder / file.name


def test_each_image_is_what_its_own_run_gives(plate: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(plate.read_text())
    document["input"] = {"path": str(plate.parent / "plate.zarr/B/1/0")}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(document))
    run(load_config(tmp_path / "one.yaml"))
    assert np.array_equal(level(tmp_path / "out.zarr"), level(plate.parent / "out.zarr/B/1/0"))


def test_the_output_is_a_plate(plate: Path) -> None:
    found = plate_of(plate.parent / "out.zarr")
    assert [w["path"] for w in found["wells"]] == ["A/1", "A/2", "B/1", "B/2"]
    assert [(w["rowIndex"], w["columnIndex"]) for w in found["wells"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    group = zarr.open_group(plate.parent / "out.zarr", mode="r")
    assert group.attrs["ssi_pipeline"]["status"] == "complete"
    assert group["B/2"].attrs["ome"]["well"] == {"images": [{"path": "0"}], "version": "0.5"}


def test_status_report_and_table_are_of_all_images_or_of_one(
    plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(plate)
    assert main(["status", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == {"total": 4, "complete": 4} | dict.fromkeys(
        ("running", "incomplete", "failed", "refused", "pending"), 0
    )
    assert [image["name"] for image in found["each"]] == ["A/1/0", "A/2/0", "B/1/0", "B/2/0"]
    assert main(["status", file, "--image", "B/1/0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tiles"]["done"] == 1
    assert main(["report", file, "--output", str(tmp_path / "index.html")]) == 0
    page = (tmp_path / "index.html").read_text()
    assert page.count('id="image-') == 4
    assert 'href="#image-B-2-0"' in page
    assert main(["export", file, "--output", str(tmp_path / "tiles.csv")]) == 0
    rows = (tmp_path / "tiles.csv").read_text().splitlines()
    assert rows[0].startswith("image,tile,grid_t")
    assert [row.split(",")[0] for row in rows[1:]] == ["A/1/0", "A/2/0", "B/1/0", "B/2/0"]
    assert main(["verify", file, "--json"]) == 0
    assert main(["preview", file]) == ExitStatus.REFUSED
    assert "--image A/1/0" in capsys.readouterr().err


def test_complete_images_are_not_run_again(plate: Path, tmp_path: Path) -> None:
    file = copied(plate, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")}
    assert go(file).complete
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")} == before


def test_damage_of_one_image_is_found_and_repaired_there_alone(plate: Path, tmp_path: Path) -> None:
    file = copied(plate, tmp_path)
    output = tmp_path / "out.zarr"
    expected, untouched = voxels(output), (output / "B/1/0/zarr.json").stat().st_mtime_ns
    chunk = next(p for p in (output / "A/2/0/0").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-4] + b"oops")
    (output / "A/1/zarr.json").unlink()
    found = verify_images(collection_of(file))
    assert found.bad
    assert found.images["A/2/0"].problems
    assert found.images["B/1/0"].good
    assert [line.split(" of ")[1].split(" are ")[0] for line in found.damage] == [str(output / "A/1")]
    assert go(file).complete
    assert voxels(output) == expected
    assert (output / "B/1/0/zarr.json").stat().st_mtime_ns == untouched
    assert verify_images(collection_of(file)).good


def test_chosen_images_alone_and_rows_added_later_join_the_plate(plate: Path, tmp_path: Path) -> None:
    shutil.copytree(plate.parent / "plate.zarr", tmp_path / "plate.zarr")
    file = configure(tmp_path, "A/*/0")
    assert go(file, image="*/2/0").images == 1
    assert [image.state for image in read_collection(collection_of(file)).images] == ["pending", "complete"]
    assert [w["path"] for w in plate_of(tmp_path / "out.zarr")["wells"]] == ["A/2"]
    outcome = go(file)
    assert (outcome.images, outcome.computed_tiles) == (2, 1)
    outcome = go(configure(tmp_path, "B/*/0"))
    assert (outcome.images, outcome.images_complete, outcome.computed_tiles) == (4, 4, 2)
    assert voxels(tmp_path / "out.zarr") == voxels(plate.parent / "out.zarr")


def test_an_image_that_fails_leaves_the_others_and_is_retried_alone(plate: Path, tmp_path: Path) -> None:
    shutil.copytree(plate.parent / "plate.zarr", tmp_path / "plate.zarr")
    file = configure(tmp_path, "*/*/0")
    metadata, chunk = tmp_path / "plate.zarr/A/2/0/0/zarr.json", tmp_path / "plate.zarr/B/2/0/0/c/0/0/0"
    good, pixels = metadata.read_bytes(), chunk.read_bytes()
    metadata.write_bytes(b"{")
    chunk.write_bytes(pixels[: len(pixels) // 2])
    outcome = go(file)
    assert (outcome.images_complete, outcome.images_failed, outcome.exit_status) == (2, 2, ExitStatus.FAILED)
    status = {image.name: image for image in read_collection(collection_of(file)).images}
    assert status["A/2/0"].state == "refused"
    assert "A/2/0/0" in status["A/2/0"].error
    assert status["B/2/0"].state in ("failed", "refused")
    assert "A/2" not in [w["path"] for w in plate_of(tmp_path / "out.zarr")["wells"]], "it lists what is there"
    metadata.write_bytes(good)
    chunk.write_bytes(pixels)
    outcome = go(file, retry_failed=True)
    assert (outcome.complete, outcome.computed_tiles) == (True, 2)
    assert voxels(tmp_path / "out.zarr") == voxels(plate.parent / "out.zarr")


def test_what_is_shared_is_found_once(tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", 1, 2)
    network = {**TINY, "solver": "ssi", "training": {**TINY["training"], "scope": "shared", "shared_tiles": 2}}
    file = configure(tmp_path, "*/*/0", input={"share": "network"}, **network)
    assert go(file).complete
    state = tmp_path / "out.zarr.run"
    shared = json.loads((state / "shared.zarr.run/calibration.json").read_text())
    for name in ("A/1/0", "A/2/0"):
        assert json.loads((state / "images" / name / "calibration.json").read_text()) == shared
        kinds = [record.kind for record in read_records(state / "images" / name / "ledger.jsonl")]
        assert "train" not in kinds
    models = {p.read_bytes() for p in state.rglob("shared-c0.pt")}
    assert len(models) == 1
    alone = configure(tmp_path, "*/*/0", name="alone.yaml", output={"path": "alone.zarr"}, **network)
    assert go(alone).complete
    assert not np.array_equal(level(tmp_path / "out.zarr/A/1/0"), level(tmp_path / "alone.zarr/A/1/0"))


def test_images_that_differ_share_nothing(tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", 1, 1)
    shutil.rmtree(tmp_path / "plate.zarr/A/1/0")
    write_image(tmp_path / "plate.zarr/A/1/0", beads((1, 20, 20)))
    write_image(tmp_path / "plate.zarr/A/1/1", beads((1, 20, 24)))
    well = tmp_path / "plate.zarr/A/1/zarr.json"
    well.write_text(well.read_text().replace('"path": "0"', '"path": "0"}, {"path": "1"'))
    file = configure(tmp_path, "*/*/*", input={"share": "calibration"})
    for call in (lambda: plan_images(collection_of(file)), lambda: go(file)):
        with pytest.raises(InputError, match=r"share.*shape .*24\), but .*20\): expected images of equal shape"):
            call()
    assert plan_images(collection_of(configure(tmp_path, "*/*/*", name="b.yaml"))).tiles == 2


def test_tables_of_a_plate_come_along_with_all_of_its_images(
    plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(plate, tmp_path)
    table = write_plate_table(tmp_path / "plate.zarr")
    output, copy = {"carry": ["tables"]}, tmp_path / "out.zarr/tables/drugs/table.csv"
    size = {"voxel_size_um": {"y": 1, "x": 1}}
    with pytest.raises(ConfigError, match="positions in the whole image"):
        go(configure(tmp_path, "*/*/0", output={"path": "other.zarr", **output}, input=size))
    some = configure(tmp_path, "A/*/0", output={"path": "some.zarr", **output}, name="some.yaml")
    assert main(["plan", str(some)]) == 0
    assert "not carried along: 2 images of the plate" in capsys.readouterr().out
    file = configure(tmp_path, "*/*/0", output=output)  # a complete output takes them later
    assert go(file).complete
    assert copy.read_bytes() == table.read_bytes()
    assert verify_images(collection_of(file)).good
    assert len(list_images(tmp_path / "out.zarr").images) == 4
    copy.write_bytes(b"?" * copy.stat().st_size)
    assert verify_images(collection_of(file)).bad
    assert zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["ssi_pipeline"]["status"] == "incomplete"
    assert go(file).complete
    assert copy.read_bytes() == table.read_bytes()
    assert verify_images(collection_of(file)).good
    _add_row(tmp_path / "plate.zarr")  # images that join later bring the tables of now; where some are left out, none
    table.write_text(table.read_text() + "C,1,some\n")
    assert go(configure(tmp_path, "C/1/0", output=output)).complete
    assert not copy.exists()
    assert go(configure(tmp_path, "*/*/0", output=output)).complete
    assert copy.read_bytes() == table.read_bytes()
    assert verify_images(collection_of(file)).good


def _add_row(plate: Path) -> None:
    """Add a third row with two wells to a plate."""
    write_plate(plate.with_name("more.zarr"), 3, 2)
    shutil.copytree(plate.with_name("more.zarr") / "C", plate / "C")
    shutil.copy(plate.with_name("more.zarr") / "zarr.json", plate)


def test_files_of_a_folder_become_a_series(tmp_path: Path) -> None:
    (tmp_path / "in/day 1").mkdir(parents=True)
    for i, name in enumerate(("a.tif", "b.ome.tif", "day 1/c.tif")):
        tifffile.imwrite(tmp_path / "in" / name, beads((24, 28), seed=i), photometric="minisblack")
    with pytest.raises(OutputError, match="overlap"):
        go(configure(tmp_path / "in", "*.tif", path="."))
    assert go(configure(tmp_path, "*.tif", path="in", solver="identity")).images == 2
    assert go(configure(tmp_path, "*/*.tif", path="in", solver="identity")).images == 3
    output = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert output.attrs["ome"]["bioformats2raw.layout"] == 3
    assert output["OME"].attrs["ome"]["series"] == ["a", "b", "day 1/c"]
    assert level(tmp_path / "out.zarr/day 1/c").shape == (24, 28)


def test_a_series_of_bioformats2raw(tmp_path: Path) -> None:
    write_series(tmp_path / "s.zarr", 2, "0.4")
    assert [image.name for image in list_images(tmp_path / "s.zarr").images] == ["0", "1"]
    assert go(configure(tmp_path, "*", path="s.zarr", output={"ome_zarr": "0.4"}, solver="identity")).complete
    assert [image.name for image in list_images(tmp_path / "out.zarr").images] == ["0", "1"]


def test_the_series_of_a_tiff_are_images_that_share_a_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for i in range(3):
            tif.write(beads((24, 28), seed=i), metadata={"axes": "YX", "Name": f"well {i}"}, photometric="minisblack")
    file = configure(tmp_path, "[01]", path="a.ome.tif", input={"share": "calibration"})
    assert main(["images", str(tmp_path / "a.ome.tif")]) == 0
    assert capsys.readouterr().out.split() == ["0", "1", "2"]
    assert go(file).complete
    assert [image.name for image in list_images(tmp_path / "out.zarr").images] == ["0", "1"]
    assert verify_images(collection_of(file), inputs=True).good
    assert go(configure(tmp_path, "*", path="a.ome.tif", input={"share": "calibration"})).computed_tiles == 1
    assert not np.array_equal(level(tmp_path / "out.zarr/0"), level(tmp_path / "out.zarr/1"))
    with pytest.raises(InputError, match=r"input\.scene is 1 and chooses one image"):
        go(configure(tmp_path, "*", path="a.ome.tif", input={"scene": 1}, output={"path": "b.zarr"}))
    assert main(["import", str(tmp_path / "a.ome.tif"), str(tmp_path / "one.zarr"), "--scene", "2"]) == 0
    assert np.array_equal(level(tmp_path / "one.zarr"), beads((24, 28), seed=2))


def test_refusals_say_what_is_there(plate: Path, tmp_path: Path) -> None:
    shutil.copytree(plate.parent / "plate.zarr", tmp_path / "plate.zarr")
    with pytest.raises(InputError, match=r"matches none of the 4 images .*A/1/0, A/2/0, B/1/0"):
        go(configure(tmp_path, "C/*/0"))
    with pytest.raises(InputError, match="is one image"):
        list_images(tmp_path / "plate.zarr/A/1/0")
    with pytest.raises(ConfigError, match="--image"):
        run(load_config(configure(tmp_path, "*/*/0")))
    for name in ("a.tif", "A.tiff"):
        tifffile.imwrite(tmp_path / name, beads((24, 28)))
    with pytest.raises(InputError, match="would both be the image"):
        list_images(tmp_path, "*.tif*")
    file = copied(plate, tmp_path / "copy")
    file.write_text(file.read_text().replace("core: 32", "core: 64"))
    with pytest.raises(RunChangedError, match=r"tiling\.core: 32 -> 64"):
        go(file)
    file.write_text(file.read_text().replace("*/*/0", "A/1/0"))
    assert go(file, new=True).complete
    assert list((tmp_path / "copy").glob("out.zarr.old-*"))


def test_ssi_images_lists_names_for_other_programs(plate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(plate.parent / "plate.zarr")
    assert main(["images", path, "--match", "A/*/0"]) == 0
    assert capsys.readouterr().out.splitlines() == ["A/1/0", "A/2/0"]
    assert main(["images", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "plate"
    assert found["images"][3] == {"name": "B/2/0", "path": f"{path}/B/2/0", "well": "B/2", "acquisition": None} | {
        "scene": None,
        "title": None,
    }


def kill_until_complete(file: Path, seed: int, kills: int, most_files: int) -> None:
    """Start the command, kill it and its workers after a random number of files, and again, until it ends by itself."""
    chance, output = random.Random(seed), load_config(file).output.path
    for number in range(kills + 1):
        process = subprocess.Popen(
            [sys.executable, "-m", "ssi_pipeline", "run", "-q", str(file)], start_new_session=True
        )
        more = files(output) + chance.randint(1, most_files)
        while process.poll() is None and (number == kills or files(output) < more):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.05))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0


def files(output: Path) -> int:
    """Count the files of an output and its state, which others may be writing."""
    return sum(len(names) for root in (output, Path(f"{output}.run")) for _, _, names in os.walk(root))


@pytest.mark.long
def test_killed_it_ends_with_the_same_bytes(plate: Path, tmp_path: Path) -> None:
    shutil.copytree(plate.parent / "plate.zarr", tmp_path / "plate.zarr")
    file = configure(tmp_path, "*/*/0")
    kill_until_complete(file, seed=1, kills=1, most_files=300)
    assert voxels(tmp_path / "out.zarr") == voxels(plate.parent / "out.zarr")
    assert verify_images(collection_of(file)).good


@pytest.mark.long
@pytest.mark.parametrize("workers", [{"kind": "serial"}, {"kind": "dask", "workers": 2}])
@pytest.mark.timeout(1800)
def test_a_96_well_plate_killed_at_random_ends_with_the_same_bytes(tmp_path: Path, workers: dict[str, Any]) -> None:
    write_plate(tmp_path / "plate.zarr", 8, 12)
    assert go(configure(tmp_path, "*/*/0", output={"path": "whole.zarr"})).complete
    file = configure(tmp_path, "*/*/0", name="killed.yaml", executor={**workers, "device": "cpu"})
    kill_until_complete(file, seed=2, kills=8, most_files=2500)
    assert voxels(tmp_path / "out.zarr") == voxels(tmp_path / "whole.zarr")
    assert verify_images(collection_of(file)).good
