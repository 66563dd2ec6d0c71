"""Which tiles a shared network is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builders import beads, complete, config_of, make_run

from ssi_pipeline.tasks.context import NO_FILL
from ssi_pipeline.tasks.opening import open_context
from ssi_pipeline.tasks.training_tiles import content_share, sample_tiles, training_places


def noise(shape: tuple[int, ...], mean: float = 100.0) -> np.ndarray:
    return np.random.default_rng(1).poisson(mean, shape).astype(np.uint16)


def test_blank_tiles_give_way_to_those_with_content(tmp_path: Path) -> None:
    image = noise((1, 32, 512))
    image[..., 384:416] = beads((1, 32, 32))
    config = make_run(tmp_path, image, tiling={"core": 32})
    complete(config)
    context = open_context(config_of(config))
    random = [domain.start[2] for _, domain in training_places(context, 0, 2)]
    assert 384 not in random
    found = sample_tiles(context, 0, 2, NO_FILL)
    assert [bool(tile.y.max() > image[..., :384].max()) for tile in found] == [True, False]  # there is no second one


def test_content_is_what_noise_alone_does_not_have() -> None:
    seen = np.ones((1, 128, 128), bool)
    bright = noise(seen.shape).astype(np.float32)
    bright[:, 40:80, 40:80] += 40  # four deviations, on a tenth of the pixels
    assert 0.09 < content_share(bright, seen) < 0.11
    for mean in (0.1, 1, 100):
        assert content_share(noise(seen.shape, mean).astype(np.float32), seen) < 0.005
    bright[:, 30:90, 30:90] = np.nan
    assert content_share(bright, np.isfinite(bright)) < 0.005
    assert content_share(np.full(seen.shape, 7, np.float32), seen) == 0
