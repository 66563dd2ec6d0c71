"""What every tile needs, imported by a worker before it takes its first task.

A worker that imports it with its first tile keeps that tile waiting for seconds (on a slow file system for a minute)
while others have long begun: *measured*, 4 s on each of three workers of four, 9 % of a run of 50 s.
"""

from __future__ import annotations

import torch  # noqa: F401 the longest of all imports

import ssi_pipeline.tasks.execute  # noqa: F401
