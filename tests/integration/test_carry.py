"""Labels and tables of an OME-Zarr input, carried along into the output: whole or not there, cut as the image is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from builders import beads, complete, config_of, contents, go, level, make_run
from plates import write_labelled, write_plane, write_series

from ssi_pipeline.cli import main
from ssi_pipeline.config import load_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.run.checks.verify import verify
from ssi_pipeline.run.images.call import ImagesRequest
from ssi_pipeline.run.images.driver import run_images
from ssi_pipeline.storage.inputs.ome_xml import read_ome_xml
from ssi_pipeline.storage.inputs.source import clear_sources
from ssi_pipeline.storage.outputs.output import read_status

COPY: dict[str, Any] = {"psf": {"kind": "identity"}, "solver": "identity", "tiling": {"core": 64}}


def carry(folder: Path, *kinds: str, **sections: Any) -> Path:
    output = {"carry": list(kinds), **sections.pop("output", {})}
    given = {"path": "in.zarr", **sections.pop("input", {})}
    return make_run(folder, None, input=given, output=output, **{**COPY, **sections})


def attributes(path: Path) -> Any:
    found = dict(zarr.open_group(path, mode="r").attrs)
    return found.get("ome", found)


def places(multiscale: Any, number: int) -> list[Any]:
    scale, shift = multiscale["datasets"][number]["coordinateTransformations"]
    return [scale["scale"], shift["translation"]]


@pytest.mark.parametrize(("inside", "outside"), [("0.4", "0.5"), pytest.param("0.5", "0.4", marks=pytest.mark.long)])
def test_labels_are_cut_to_the_region_and_keep_their_place(tmp_path: Path, inside: str, outside: str) -> None:
    nuclei, _ = write_labelled(tmp_path / "in.zarr", version=inside)
    roi = {"c": [1, 2], "y": [8, 32], "x": [4, 44]}
    unit = "shard" if outside == "0.5" else "chunk"
    small = {"tiling": {"core": 32}, "output": {"ome_zarr": outside, unit: {"y": 16, "x": 16}}}
    output = complete(carry(tmp_path, "labels", input={"roi": roi}, **small))
    labels = output / "labels/nuclei"
    assert attributes(output / "labels")["labels"] == ["nuclei", "empty"]
    np.testing.assert_array_equal(level(labels, 0), nuclei[:, 8:32, 4:44])
    assert level(labels, 0).dtype == np.int32
    assert not level(output / "labels/empty").any()
    found = attributes(labels)
    assert found["image-label"]["colors"] == [{"label-value": 1, "rgba": [255, 0, 0, 255]}]
    (image,), (own,) = attributes(output)["multiscales"], found["multiscales"]
    scale, shift = places(own, 0)
    assert [scale, shift] == [values[1:] for values in places(image, 0)]
    assert shift == pytest.approx([0.0, 0.8, 0.4])


def test_labels_have_the_levels_of_the_output(tmp_path: Path) -> None:
    """Every voxel of a coarser level is one of those in its place: labels have no means."""
    write_plane(tmp_path / "in.zarr", (70, 300))
    output = complete(carry(tmp_path, "labels", input={"roi": {"x": [3, 300]}}))
    full, coarse = level(output / "labels/nuclei", 0), level(output / "labels/nuclei", 1)
    image, own = (attributes(path)["multiscales"][0]["datasets"] for path in (output, output / "labels/nuclei"))
    assert own == image
    assert coarse.shape == level(output, 1).shape
    assert len(own) == 2
    np.testing.assert_array_equal(coarse, full[::2, ::2])


def test_labels_fit_the_level_that_is_read(tmp_path: Path) -> None:
    _, coarse = write_labelled(tmp_path / "in.zarr")
    output = complete(carry(tmp_path, "labels", input={"level": 1}))
    np.testing.assert_array_equal(level(output / "labels/nuclei"), coarse)


def test_tables_are_copied_as_they_are_and_repaired_like_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labelled(tmp_path / "in.zarr")
    output = complete(carry(tmp_path))
    assert not (output / "labels").exists()
    complete(file := carry(tmp_path, "labels", "tables"))  # a complete output takes them later
    capsys.readouterr()
    assert contents(output / "tables") == contents(tmp_path / "in.zarr/tables")
    assert verify(config_of(file)).good
    before, table = contents(output / "labels"), output / "tables/areas/table.csv"
    assert go(file).complete
    assert "carried along" not in "".join(capsys.readouterr()), "what is there is not copied again"
    table.write_bytes(b"?" * table.stat().st_size)
    found = verify(config_of(file))
    assert [line.split(" differs")[0] for line in found.damage] == [str(output / "tables")]
    assert read_status(output) == "incomplete"
    assert go(file).complete
    shutil.rmtree(output / "labels/nuclei/0")
    (output / ".labels.77.partial").mkdir()
    assert go(file).complete
    assert (contents(output / "labels"), contents(output / "tables")) == (
        before,
        contents(tmp_path / "in.zarr/tables"),
    )
    assert not list(output.glob(".*partial"))


def test_ome_xml_is_kept(tmp_path: Path) -> None:
    secret = "https://user:hunter22@omero.example.org/1"
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, beads((40, 48)), metadata={"axes": "YX", "Name": "embryo", "Description": secret})
    file = carry(tmp_path, input={"path": "a.ome.tif"})
    kept = complete(file) / "OME/METADATA.ome.xml"
    with tifffile.TiffFile(path) as tif:
        assert kept.read_text() == str(tif.ome_metadata).replace("user:hunter22", "***")
    kept.write_bytes(kept.read_bytes().replace(b"embryo", b"cotton"))
    assert str(kept.parent) in verify(config_of(file)).damage[0]
    assert go(file).complete
    assert b"embryo" in kept.read_bytes()


def test_ome_xml_of_a_collection_is_kept_once(tmp_path: Path) -> None:
    write_series(tmp_path / "in.zarr", 2)
    (tmp_path / "in.zarr/OME/METADATA.ome.xml").write_text("<OME>\u00b5m</OME>")
    file = carry(tmp_path, input={"images": "*"})
    assert run_images(load_config(file), ImagesRequest(), log=lambda _: None).complete
    assert (tmp_path / "out.zarr/OME/METADATA.ome.xml").read_text() == "<OME>\u00b5m</OME>"
    assert not (tmp_path / "out.zarr/0/OME").exists()
    one = complete(carry(tmp_path, input={"path": "in.zarr/1"}, output={"path": "one.zarr"}))
    assert (one / "OME/METADATA.ome.xml").read_text() == "<OME>\u00b5m</OME>"


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>',
        "x" * 2**25 + "x",
        "\u00b5".encode("latin-1"),
    ],
)
def test_ome_xml_that_is_none_is_left_out(tmp_path: Path, xml: str | bytes) -> None:
    write_labelled(tmp_path / "in.zarr")
    (tmp_path / "in.zarr/OME").mkdir()
    (tmp_path / "in.zarr/OME/METADATA.ome.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    content, why = read_ome_xml(tmp_path / "in.zarr")
    assert content is None
    assert "is not kept" in why


def test_what_cannot_be_carried_is_refused(tmp_path: Path) -> None:
    write_labelled(tmp_path / "in.zarr")
    for sections, says in [
        ({"input": {"roi": {"y": [8, 32]}}}, "positions in the whole image"),
        ({"input": {"voxel_size_um": {"z": 1, "y": 1, "x": 1}}}, "by its own voxel size"),
        ({"output": {"ome_zarr": "0.4"}}, 'zarr format 3 and copied as they are: expected output.ome_zarr: "0.5"'),
    ]:
        with pytest.raises(ConfigError, match=says):
            go(carry(tmp_path, "tables", **sections))
    with pytest.raises(ConfigError, match=r"expected no input\.axes"):
        go(carry(tmp_path, "labels", input={"axes": "czyx"}))
    clear_sources()
    shutil.rmtree(tmp_path / "in.zarr/labels/nuclei")
    with pytest.raises(InputError, match="'nuclei', which is not there"):
        go(carry(tmp_path, "labels"))
    clear_sources()
    write_labelled(tmp_path / "b.zarr", labels=(2, 30, 48))
    with pytest.raises(InputError, match=r"nuclei has zyx 2 x 30 x 48 .* and the image .*40 x 48.*of its resolution"):
        go(carry(tmp_path, "labels", input={"path": "b.zarr"}))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 48), np.uint16))
    with pytest.raises(InputError, match="is no OME-Zarr image"):
        go(carry(tmp_path, "labels", input={"path": "a.tif"}))


def test_import_carries_them_and_says_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nuclei, _ = write_labelled(tmp_path / "in.zarr")
    target = tmp_path / "copy.zarr"
    assert main(["import", str(tmp_path / "in.zarr"), str(target), "--carry", "labels", "tables"]) == 0
    np.testing.assert_array_equal(level(target / "labels/nuclei"), nuclei)
    assert "labels carried along: " in "".join(capsys.readouterr())
    shutil.rmtree(tmp_path / "in.zarr/tables")
    assert main(["plan", str(carry(tmp_path, "tables", output={"path": "b.zarr"}))]) == 0
    assert "has no tables" in "".join(capsys.readouterr())
    shutil.rmtree(tmp_path / "copy.zarr.run")
    assert main(["config", str(target)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["output"]["carry"] == ["labels", "tables"]
