"""Flagged tiles are retrained at the end, and the better solution is kept, also across interruptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import EXTENDED, TINY, beads, complete, config_of, go, hashes, image_files, level, make_run, records
from damage import Harm, copied, empty

from ssi_pipeline.errors import ConfigError
from ssi_pipeline.inversion import solve
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.problem import Problem, build_problem
from ssi_pipeline.inversion.solution import Solution
from ssi_pipeline.inversion.solver import SolveOptions
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.quality.alarms import ALARMS
from ssi_pipeline.run import driver, finish_parts, retraining, run_part, verify
from ssi_pipeline.run.retraining import retrained_tiles
from ssi_pipeline.run.session import RunSession
from ssi_pipeline.storage.outputs.quality_arrays import read_quality
from ssi_pipeline.storage.state.parts import Part
from ssi_pipeline.tasks.context import Context
from ssi_pipeline.tasks.retraining import is_better
from ssi_pipeline.tasks.seeds import seed_for

BAD = 6
"""The tile whose first training goes wrong."""

SETTINGS: dict[str, Any] = {
    "solver": "ssi",
    "psf": {"kind": "gaussian", "fwhm_px": {"y": 3, "x": 3}},
    "tiling": {"core": 32, "blend": 8},
    "network": TINY["network"],
    "training": {**TINY["training"], "retrain": True},
    **EXTENDED,
    "output": {"pyramid": True},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _one_goes_wrong() -> Iterator[None]:
    """The first training of a tile believes in a wide PSF; the second does not."""
    solved = solve.solve

    def misled(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions) -> Solution:
        if seed == seed_for(0, "solve", BAD) and options.training_seed is None:
            wide = problem.forward.approximate_psf[None] ** 0.3
            psf = Psf((wide / wide.sum()).astype(np.float32))
            problem = build_problem(psf, problem.calibration, problem.config, problem.device)
        return solved(problem, measurement, seed, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "solve", misled)
        yield


def image() -> np.ndarray:
    return beads((1, 128, 128))


def context_of(config: Path) -> Context:
    return driver.prepare(config_of(config)).context


def blended(blend: int) -> dict[str, Any]:
    return {**SETTINGS, "tiling": {"core": 32, "blend": blend}}


class OnDemand(dict[int, Any]):
    """What is made for a blend when it is first asked for."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, blend: int) -> Any:
        return self.setdefault(blend, self._make(blend))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, _one_goes_wrong: None) -> dict[int, Path]:
    """Configurations of complete runs that nobody disturbed, by their blending; to be read, or copied."""

    def made(blend: int) -> Path:
        config = make_run(tmp_path_factory.mktemp("good"), image(), **blended(blend))
        complete(config)
        return config

    return OnDemand(made)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory, _one_goes_wrong: None) -> dict[int, np.ndarray]:
    """The images of runs without a second training, by their blending."""
    once = {"training": TINY["training"]}
    return OnDemand(
        lambda blend: level(complete(make_run(tmp_path_factory.mktemp("plain"), image(), **{**blended(blend), **once})))
    )


def made(config: Path) -> dict[str, str]:
    return hashes(config_of(config).output.path)


@pytest.mark.long
@pytest.mark.parametrize("harm", [empty, Path.unlink])
def test_a_lost_list_is_made_as_it_was(tmp_path: Path, finished: dict[int, Path], harm: Harm) -> None:
    """Not of the second training, after which no tile may be flagged."""
    config = copied(finished[8].parent, tmp_path)
    good = made(config)
    chosen = config_of(config).state_path / "retrained.json"
    before = chosen.read_bytes()
    assert BAD in json.loads(before)["tiles"]
    harm(chosen)
    image_files(tmp_path / "out.zarr")[0].unlink()
    assert hashes(complete(config)) == good
    assert chosen.read_bytes() == before


@pytest.mark.parametrize("blend", [8, pytest.param(0, marks=pytest.mark.long)])
def test_the_tile_that_went_wrong_is_trained_again_and_the_others_stay(
    finished: dict[int, Path], trained_once: dict[int, np.ndarray], blend: int
) -> None:
    before, config = trained_once[blend], finished[blend]
    after = level(config_of(config).output.path)
    chosen = retrained_tiles(context_of(config))
    assert BAD in chosen
    assert len(chosen) <= 2  # a tenth of sixteen
    quality = {r.index: r.quality for r in records(config, "solve") if r.status == "done"}
    assert quality[BAD]["retrained"] == 2
    assert quality[BAD]["steps"] <= 2 * TINY["training"]["steps"]
    assert {index for index, found in quality.items() if "retrained" in found} == chosen
    kept = read_quality(config_of(config).output.path, "retrained")
    assert kept is not None
    assert np.isfinite(kept).sum() == len(chosen)
    differs = {tuple(place // 32) for place in np.argwhere((before != after)[0])}
    near = {(index // 4 + i, index % 4 + j) for index in chosen for i in (-1, 0, 1) for j in (-1, 0, 1)}
    assert divmod(BAD, 4) in differs
    assert differs <= (near if blend else {divmod(index, 4) for index in chosen})
    assert verify(config_of(config)).good
    assert not list(config_of(config).state_path.glob("scratch-*"))
    assert "flagged tiles to retrain" in (config_of(config).state_path / "run.log").read_text()


@pytest.mark.parametrize(
    ("blend", "after"),
    [
        (8, 0),
        *(pytest.param(*case, marks=pytest.mark.long) for case in ((0, 0), (0, 1), (8, 1), (8, 3))),
    ],
)
def test_a_kill_between_the_choice_and_the_second_training_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: dict[int, Path], blend: int, after: int
) -> None:
    good = made(finished[blend])
    config = make_run(tmp_path / "killed", image(), **blended(blend))
    taken_back = RunSession.invalidate
    count = iter(range(10**6))

    def killed(self: RunSession, record: Any) -> None:
        if next(count) == after:
            raise KeyboardInterrupt
        taken_back(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunSession, "invalidate", killed)
        assert not go(config).complete
    assert hashes(complete(config)) == good
    assert verify(config_of(config)).good


@pytest.mark.long
def test_a_block_that_is_lost_later_comes_back_with_the_same_bytes(tmp_path: Path, finished: dict[int, Path]) -> None:
    config = copied(finished[8].parent, tmp_path)
    good = made(config)
    for file in image_files(config_of(config).output.path):
        file.unlink()
    assert hashes(complete(config)) == good
    last = [r for r in records(config, "solve") if r.index == BAD and r.status == "done"][-1]
    assert last.quality["retrained"] == 2


@pytest.mark.long
def test_whatever_happens_to_the_second_training_the_first_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_once: dict[int, np.ndarray]
) -> None:
    before = trained_once[8]
    solved = solve.solve

    def failing(problem: Problem, measurement: Measurement, seed: int, options: SolveOptions) -> Solution:
        if options.training_seed is not None:
            raise torch.OutOfMemoryError("no memory for twice the steps")
        return solved(problem, measurement, seed, options)

    monkeypatch.setattr(solve, "solve", failing)
    config = make_run(tmp_path / "again", image(), **SETTINGS)
    np.testing.assert_array_equal(level(complete(config)), before)
    last = [r for r in records(config, "solve") if r.index == BAD and r.status == "done"][-1]
    assert last.quality["retrained"] == 1
    assert "second training failed: DeviceMemoryError" in last.quality["note"]


@pytest.mark.long
def test_a_finish_that_was_killed_while_it_trained_again_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: dict[int, Path]
) -> None:
    good = made(finished[8])
    config = make_run(tmp_path / "parts", image(), **SETTINGS)
    for number in (1, 2):
        run_part(config_of(config), Part(2, number), log=lambda _: None)

    def killed(self: RunSession, record: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunSession, "invalidate", killed)
        assert not finish_parts(config_of(config), log=lambda _: None).complete
    assert finish_parts(config_of(config), log=lambda _: None).complete
    assert hashes(config_of(config).output.path) == good


def test_only_tiles_that_were_trained_on_are_chosen_those_with_most_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(make_run(tmp_path, beads((1, 32, 32 * 30)), **SETTINGS))
    context.paths.root.mkdir(parents=True)
    bit = {alarm.name: 2.0**i for i, alarm in enumerate(ALARMS)}
    held_out, whiteness, saturated = bit["held-out"], bit["whiteness"], bit["saturated"]
    flag = np.zeros((1, 1, 1, 1, 30), np.float32)
    flag[..., 3], flag[..., 4], flag[..., 9] = held_out, held_out + whiteness, held_out + whiteness
    flag[..., 20], flag[..., 21], flag[..., 25] = held_out, held_out, saturated
    trainings = np.ones_like(flag)
    trainings[..., 4] = 0  # blank
    monkeypatch.setattr(retraining, "tile_metrics", lambda *_, **__: {"flag": flag, "trainings": trainings})
    assert retraining.choose_tiles(context) == [3, 9, 20]  # a tenth of thirty; the first of equals
    monkeypatch.setattr(retraining, "tile_metrics", None)
    assert retraining.choose_tiles(context) == [3, 9, 20]  # made once


def test_a_finished_run_is_not_begun_again(tmp_path: Path, finished: dict[int, Path]) -> None:
    assert go(copied(finished[8].parent, tmp_path)).computed_tiles == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"solver": "wiener"}, "no tile is trained on its own"),
        ({"training": {"retrain": True, "scope": "shared"}}, "no tile is trained on its own"),
        ({"quality": {"extended": False}}, "needs quality.extended: true"),
    ],
)
def test_what_cannot_be_retrained_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    config = make_run(tmp_path, None, **{**SETTINGS, **changes})
    with pytest.raises(ConfigError, match=words):
        config_of(config)


def test_the_better_one_is_that_of_the_lower_rank_sum() -> None:
    def solution(loss: float, **scores: float) -> Solution:
        return Solution(np.zeros((1, 2, 2), np.float32), "network", heldout_after=loss, scores=scores)

    good, bad = (solution(1, heldout_excess=a, whiteness=a, r2r_risk=a) for a in (1.0, 2.0))
    assert is_better(good, bad)
    assert not is_better(bad, good)
    assert not is_better(good, good)
    half, other = solution(1, heldout_excess=1, whiteness=2), solution(2, heldout_excess=2, whiteness=1)
    assert is_better(half, other)  # ranks are level: the held-out loss decides
    assert not is_better(other, half)
    assert not is_better(solution(0), solution(1))  # nothing to judge by
