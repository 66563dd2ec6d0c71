"""Free memory of the GPUs that the workers of this machine share, asked of the driver, without torch."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from ssi_pipeline.config import RunConfig
from ssi_pipeline.executors.gpus.sharing import known_device, own_cards
from ssi_pipeline.executors.gpus.visible import ask

_FREE = ("--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits")
_MIB = 2**20


def on_gpu(config: RunConfig) -> bool:
    """Return whether the tiles of a first start are known to be solved on GPUs."""
    return config.method.computes and known_device(config.executor) == "cuda"


def free_for_worker(config: RunConfig, workers: int) -> int | None:
    """Return the bytes that a worker may use of its GPU: its share of what the fullest one has free.

    None on a CPU, and where it is not known: GPUs elsewhere, MIG devices, other makers.
    """
    if not on_gpu(config):
        return None
    names = own_cards(config.executor).names
    free = free_bytes(os.environ.get("PATH", ""))
    if not names or not all(name in free for name in names):
        return None
    return min(free[name] for name in names) // max(1, -(-workers // len(names)))


@functools.lru_cache(maxsize=8)
def free_bytes(path: str) -> dict[str, int]:
    """Return the free bytes of each GPU by its number, and by its name; empty where the driver does not tell.

    Asked once by a process: a plan and the run after it use the same number.
    """
    program = shutil.which("nvidia-smi", path=path)
    if program is None:
        return {}
    try:
        done = ask([program, *_FREE])
    except (OSError, subprocess.SubprocessError):
        return {}
    return parsed(done.stdout) if done.returncode == 0 else {}


def parsed(listing: str) -> dict[str, int]:
    """Return the free bytes in a listing of number, name and free MiB, a GPU a line; what is no number is left out."""
    found: dict[str, int] = {}
    for line in listing.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 3 and words[2].isdigit():
            found |= dict.fromkeys(words[:2], int(words[2]) * _MIB)
    return found
