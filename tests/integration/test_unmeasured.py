"""Fill and masks: never solved, never learnt from, written back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from builders import beads, complete, config_of, go, level, make_run, records, write_zarr

from ssi_pipeline.errors import InputError, RunChangedError
from ssi_pipeline.results.finish import METHODS
from ssi_pipeline.storage.state.document import StatePaths

SIDE = 128
IMAGE = beads((1, SIDE, SIDE))
WEDGE = (np.add.outer(np.arange(SIDE), -np.arange(SIDE)) > 25)[None]
WIENER: dict[str, Any] = {
    "solver": "wiener",
    "output": {"path": "out.zarr", "dtype": "float32"},
    "classical": {"weight": 0.1},
    "quality": {"extended": False},
}


def quality(output: Path, name: str) -> Any:
    return zarr.open_array(output / "quality" / name, mode="r")[0, 0, 0]  # type: ignore[index]


def test_a_wedge_is_solved_as_one_of_nan_and_written_back(tmp_path: Path) -> None:
    filled, unknown = np.where(WEDGE, 0, IMAGE), np.where(WEDGE, np.nan, IMAGE.astype(np.float32))
    config = make_run(tmp_path / "fill", filled.astype(np.uint16), **WIENER)
    output = complete(config)
    found, wanted = level(output), level(complete(make_run(tmp_path / "nan", unknown, **WIENER)))
    assert not found[WEDGE].any()
    assert np.array_equal(found[~WEDGE], wanted[~WEDGE])
    # all of the tiles in the corner are fill: they were not solved, and no alarm looks at them
    empty = quality(output, "method") == METHODS["unmeasured"]
    cores = WEDGE[0].reshape(4, 32, 4, 32).mean(axis=(1, 3))
    assert np.array_equal(empty, cores == 1)
    assert empty.any()
    assert np.allclose(quality(output, "fill_share"), cores, atol=1e-4)
    assert not (quality(output, "flag")[empty] > 0).any()
    log = StatePaths(config_of(config).state_path).log.read_text()
    assert "channel 0: areas of the value 0 are fill" in log
    assert f"{100 * WEDGE.mean():.3g} % of the volume is fill or masked" in log


def test_fill_can_be_given_or_switched_off(tmp_path: Path) -> None:
    image = np.where(WEDGE, 65535, IMAGE).astype(np.uint16)  # the highest value may be saturation
    given = level(complete(make_run(tmp_path / "given", image, input={"fill": 65535}, **WIENER)))
    assert (given[WEDGE] == 65535).all()
    config = make_run(tmp_path / "none", image, input={"fill": "none"}, **WIENER)
    assert not (level(complete(config))[WEDGE] == 65535).all()
    assert not any(r.quality["fill_share"] for r in records(config, "solve"))
    with pytest.raises(InputError, match=r"input.fill is -1, but pixels of .* are uint16"):
        go(make_run(tmp_path / "beyond", image, input={"fill": -1}, **WIENER))


def test_a_mask_joins_the_same_path(tmp_path: Path) -> None:
    """Of booleans and without time points, for an image with two of them."""
    two = np.stack([IMAGE, beads((1, SIDE, SIDE), seed=1)])
    config = make_run(tmp_path, two, "tzyx", input={"mask": "mask.zarr", "roi": {"x": [32, SIDE]}}, **WIENER)
    write_zarr(tmp_path / "mask.zarr", ~WEDGE, "zyx")
    output = complete(config)
    found, wedge, inner = level(output), WEDGE[..., 32:], two[..., 32:]
    for t in range(2):
        assert np.array_equal(found[t][wedge], inner[t][wedge])
        assert not np.array_equal(found[t][~wedge], inner[t][~wedge])
    shares = [r.quality["fill_share"] for r in records(config, "solve")]
    assert 1.0 in shares
    assert 0.0 in shares


def test_a_mask_that_changes_is_refused_as_a_changed_input(tmp_path: Path) -> None:
    config = make_run(tmp_path, beads((1, 64, 1024)), tiling={"core": 64}, input={"mask": "mask.zarr"})
    write_zarr(tmp_path / "mask.zarr", np.ones((1, 64, 1024), np.uint8), "zyx")
    complete(config)
    complete(config)
    array = zarr.open_array(tmp_path / "mask.zarr", mode="r+")
    array[0, 30, 100] = 0  # between the regions of the identity
    with pytest.raises(RunChangedError, match="has changed") as refusal:
        go(config)
    assert "tile 1:" in str(refusal.value)
    array[0, 30, 10] = 0
    with pytest.raises(RunChangedError, match=r"input\.mask\.content"):
        go(config)


def test_masks_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    config = make_run(tmp_path, IMAGE, input={"mask": "mask.zarr"}, **WIENER)
    with pytest.raises(InputError, match=r"input.mask: .*mask.zarr not found"):
        go(config)
    write_zarr(tmp_path / "mask.zarr", np.ones((1, SIDE, SIDE - 1), np.uint8), "zyx")
    with pytest.raises(InputError, match=r"mask.zarr has t c z y x 1 x 1 x 1 x 128 x 127, the input .* 128 x 128"):
        go(config)
    zarr.create_array(tmp_path / "zeros.zarr", data=np.zeros((SIDE, SIDE), bool), config={"write_empty_chunks": True})
    config = make_run(tmp_path, None, input={"mask": "zeros.zarr"}, **WIENER)
    with pytest.raises(InputError, match="is 0 in the whole region of interest"):
        go(config)
    assert not config_of(config).output.path.exists()
