"""Seeds of tasks, from the run's seed and the index of the task, independent of scheduling."""

from __future__ import annotations

import zlib

import numpy as np


def seed_for(run_seed: int, purpose: str, index: int) -> int:
    """Return a 62-bit seed for one task; equal arguments give equal seeds on every machine."""
    words = np.random.SeedSequence([run_seed, zlib.crc32(purpose.encode()), index]).generate_state(2, np.uint32)
    return (int(words[0]) << 30) ^ int(words[1])
