"""Solvers in 3D: on small stacks with truth and anisotropic voxels, or on one stack with its PSF.

Without ``--image`` the stacks are simulated (`_stack_scenes.py`) and their noise is known. A weight, or a number of
iterations, is chosen as by a run, without the truth. "cubes": the voxel size is withheld from the solver. dB: PSNR after
the gain and offset that are best. chi2 and whiteness: of the residual, 1 and 0 for noise alone. Below zero: the share of
estimated voxels below the dark level.

    python benchmarks/stacks.py --seeds 0,1                                  synthetic
    python benchmarks/stacks.py --image data.tif --psf kernel.tif --truth actual.tif
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from _stack_scenes import DARK, READ_NOISE, Stack, stacks
from numpy.typing import NDArray

from ssi_pipeline.benchmark.methods import configuration, measurement
from ssi_pipeline.config import RunConfig
from ssi_pipeline.geometry.halo import network_stride
from ssi_pipeline.inversion.calibrate import calibrate
from ssi_pipeline.inversion.channel import ChannelCalibration
from ssi_pipeline.inversion.classical.registry import CLASSICAL
from ssi_pipeline.inversion.classical.tuning import tune
from ssi_pipeline.inversion.problem import Problem, build_problem, make_tile_tensors
from ssi_pipeline.inversion.classical.observation import observation_of
from ssi_pipeline.physics.psf_loader import load_psf
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.quality.residual import chi_squared, whiteness

Floats = NDArray[np.floating]


def decibel(found: Floats, truth: Floats) -> float:
    """Return the PSNR after the gain and offset that are best."""
    gain, offset = np.polyfit(found.ravel(), truth.ravel(), 1)
    return float(10 * np.log10(np.ptp(truth) ** 2 / np.mean((gain * found + offset - truth) ** 2)))
