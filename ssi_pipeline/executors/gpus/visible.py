"""Find the GPUs that a process may use, without torch, and the environment that shows one to each worker.

A worker computes on its ``cuda:0``; its environment selects the card: one process, one card.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HIDDEN = "-1"
"""Value that hides all cards: no card has this number. (ROCm ignores an empty value.)"""

_OF_JOB = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""Numbers of a job's cards on its node; where the site hides the others, they are numbered from 0."""

_DRIVER = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""One of these exists if there is a driver (CUDA, CUDA under WSL, ROCm)."""

_ASK_SECONDS = 120
"""nvidia-smi starts a driver that is not loaded: seconds for each card."""

_COUNT = "import torch; print(torch.cuda.device_count())"


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards by their names for ``variable``; ``why``: the reason if there are none.

    ``by_bus``: numbered along the bus, as by the driver and SLURM, and not by speed, as by CUDA. ``of_job``: allocated
    by SLURM to this job, which may not be the only one on the machine.
    """

    names: tuple[str, ...] = ()
    variable: str = "CUDA_VISIBLE_DEVICES"
    by_bus: bool = False
    of_job: bool = False
    why: str = ""

    def environment(self, number: int, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of worker ``number``: one card, shared if there are fewer cards than workers."""
        if not self.names:
            return {}
        return self._showing(self.names[number % len(self.names)], environ)

    def all_visible(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process that may use all cards."""
        return self._showing(",".join(self.names), environ)

    def _showing(self, value: str, environ: Mapping[str, str]) -> dict[str, str]:
        order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if self.by_bus and "CUDA_DEVICE_ORDER" not in environ else {}
        return {self.variable: value, **order}


def hidden_cards() -> dict[str, str]:
    """Return the variables that hide all cards."""
    return {gpu_variable(): HIDDEN}


def visible_cards(environ: Mapping[str, str]) -> Cards:
    """Return the cards that a process with these variables may use; the variables override the cards present."""
    variable = gpu_variable()
    if variable in environ:
        names = _listed(environ[variable])
        return Cards(names, variable, why="" if names else f"{variable} is {environ[variable]!r}")
    if "ROCR_VISIBLE_DEVICES" in environ and variable == "HIP_VISIBLE_DEVICES":
        names = tuple(str(n) for n in range(len(_listed(environ["ROCR_VISIBLE_DEVICES"]))))
        return Cards(names, variable, why="" if names else "ROCR_VISIBLE_DEVICES names none")
    if "GPU_DEVICE_ORDINAL" in environ:  # SLURM's, with what CUDA_VISIBLE_DEVICES would be
        names = _listed(environ["GPU_DEVICE_ORDINAL"])
        return Cards(names, variable, by_bus=True, of_job=True, why="" if names else "GPU_DEVICE_ORDINAL names none")
    present, why = _present(environ.get("PATH", os.environ.get("PATH", "")))
    for name in _OF_JOB:
        if name in environ:
            job = _listed(environ[name])
            seen = present if 0 < len(present) <= len(job) else job
            return Cards(seen, variable, by_bus=True, of_job=True, why="" if seen else f"{name} names none")
    return Cards(present, variable, by_bus=True, why=why)


def _listed(value: str) -> tuple[str, ...]:
    """Return the entries of a list of devices, up to the first invalid one, like CUDA."""
    names = []
    for entry in value.split(","):
        name = entry.strip()
        if not re.fullmatch(r"\d+|GPU-\S+|MIG-\S+", name):
            break
        names.append(name)
    return tuple(dict.fromkeys(names))


@functools.lru_cache(maxsize=8)
def _present(path: str) -> tuple[tuple[str, ...], str]:
    """Return the cards of this machine that this process may use, or the reason if there are none."""
    program = shutil.which("nvidia-smi", path=path)
    failure = ""
    if program is not None:
        try:
            done = ask([program, "-L"])
        except (OSError, subprocess.SubprocessError) as error:
            failure = f"nvidia-smi: {error}"
        else:
            if done.returncode == 0 and (names := _from_listing(done.stdout)):
                return names, ""
            failure = f"nvidia-smi: {_last_line(done.stdout + done.stderr) or f'status {done.returncode}'}"
    if not any(Path(node).exists() for node in _DRIVER):
        return (), failure or "no GPU is visible here"
    try:  # a container without nvidia-smi, or a card of another vendor: query torch, in a process of its own
        done = ask([sys.executable, "-c", _COUNT])
        count = int(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return (), failure or f"torch cannot count the GPUs here: {error}"
    return tuple(str(n) for n in range(count)), "" if count else failure or "torch sees no GPU here"


def ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program that tells about GPUs."""
    return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)


def _from_listing(text: str) -> tuple[str, ...]:
    """Return the devices of ``nvidia-smi -L``: cards by number, MIG devices by name."""
    names: list[str] = []
    card: str | None = None
    for line in text.splitlines():
        if found := re.match(r"GPU (\d+):", line):
            names.append(card := found[1])
        elif found := re.match(r"\s+MIG .*\(UUID: (MIG-[^)\s]+)\)", line):
            if card in names:
                names.remove(card)  # a card with MIG devices cannot be used as a whole
            names.append(found[1])
    return tuple(names)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:160] if lines else ""


def gpu_variable() -> str:
    """Return the name of the variable that selects the cards visible to torch."""
    return "HIP_VISIBLE_DEVICES" if torch_build() == "hip" else "CUDA_VISIBLE_DEVICES"


@functools.cache
def torch_build() -> str:
    """Return the GPU backend of the installed torch: 'cuda', 'hip' or ''; torch is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return "cuda"  # unknown: the workers find out
    for name in ("hip", "cuda"):
        if re.search(rf"^{name}\b[^=\n]*= *['\"]", text, flags=re.MULTILINE):
            return name
    return ""
