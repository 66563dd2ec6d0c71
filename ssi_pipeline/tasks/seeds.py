"""Where chance comes from: the run's seed and the task's own number, never the order of scheduling."""

from __future__ import annotations

import zlib

import numpy as np


def seed_for(run_seed: int, purpose: str, index: int) -> int:
    """Return 62 random bits for one task; equal arguments give equal bits on every machine."""
    words = np.random.SeedSequence([run_seed, zlib.crc32(purpose.encode()), index]).generate_state(2, np.uint32)
    return (int(words[0]) << 30) ^ int(words[1])
