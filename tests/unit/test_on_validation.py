"""The callback of validations does not change a training, and receives the estimates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from test_solve import config_for, gaussian_psf, scene

from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.network.solver import solve_by_network
from ssi_pipeline.inversion.problem import build_problem
from ssi_pipeline.inversion.tile import make_tile_tensors


def test_the_callback_changes_nothing_and_receives_the_estimates() -> None:
    psf, config = gaussian_psf(), config_for()
    measurement, _ = scene((1, 72, 64), psf)
    problem = build_problem(psf, calibrate([measurement], psf, config), config, "cpu")
    tile = make_tile_tensors(problem, measurement, 1)
    seen: dict[int, NDArray[np.float32]] = {}

    def watch(step: int, estimate: Callable[[], NDArray[np.float32]]) -> None:
        seen[step] = estimate()

    watched, alone = solve_by_network(problem, tile, 1, on_validation=watch), solve_by_network(problem, tile, 1)
    assert watched.method == "network"
    assert list(seen) == [step for step, _, _ in watched.trace]
    np.testing.assert_array_equal(watched.estimate, alone.estimate)
    assert watched.trace[1:] == alone.trace[1:]  # the first has no training loss: NaN
    assert any(np.array_equal(shown, watched.estimate) for shown in seen.values())
    first, *_, last = seen.values()
    assert not np.array_equal(first, last)
