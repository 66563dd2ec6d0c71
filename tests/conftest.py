"""Shared fixtures: one thread per numerical library, so that tests do not compete for cores."""

from __future__ import annotations

import os

from hypothesis import settings

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when torch and numpy's BLAS are first imported

# derandomised: the same examples on every machine; no deadline: shared machines pause
settings.register_profile("bounded", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("wide", max_examples=2000, deadline=None)  # pytest --hypothesis-profile=wide
settings.load_profile("bounded")
