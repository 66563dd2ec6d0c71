"""The run configuration: what a user may say, checked before anything else happens."""

from ssi_pipeline.config.fingerprint import differences, digest, flatten
from ssi_pipeline.config.load import load_config, parse_config
from ssi_pipeline.config.model import (
    BoundsConfig,
    ExecutorConfig,
    InputConfig,
    MaskingConfig,
    NetworkConfig,
    NormalisationConfig,
    OutputConfig,
    RunConfig,
    SensorConfig,
    TilingConfig,
    TrainingConfig,
)
from ssi_pipeline.config.psf import FilePsf, GaussianPsf, IdentityPsf, PsfConfig, WidefieldPsf

__all__ = [
    "BoundsConfig",
    "ExecutorConfig",
    "FilePsf",
    "GaussianPsf",
    "IdentityPsf",
    "InputConfig",
    "MaskingConfig",
    "NetworkConfig",
    "NormalisationConfig",
    "OutputConfig",
    "PsfConfig",
    "RunConfig",
    "SensorConfig",
    "TilingConfig",
    "TrainingConfig",
    "WidefieldPsf",
    "differences",
    "digest",
    "flatten",
    "load_config",
    "parse_config",
]
