"""Self-supervised inversion: masks, networks, the objective, training, and the linear solution."""

from ssi_pipeline.inversion.calibration import ChannelCalibration, calibrate
from ssi_pipeline.inversion.measurement import Measurement
from ssi_pipeline.inversion.models import Model
from ssi_pipeline.inversion.solve import Solution, solve, train_shared

__all__ = ["ChannelCalibration", "Measurement", "Model", "Solution", "calibrate", "solve", "train_shared"]
