"""Run configuration: models of all options, validated before anything runs."""

from ssi_pipeline.config.executor import ExecutorConfig
from ssi_pipeline.config.fingerprint import differences, digest, flatten
from ssi_pipeline.config.load import load_config, parse_config
from ssi_pipeline.config.model import RunConfig
from ssi_pipeline.config.on_end import OnEndConfig
from ssi_pipeline.config.psf import (
    COMPUTED_KINDS,
    Blurring,
    ComputedPsf,
    ConfocalPsf,
    DepthByZ,
    FilePsf,
    GaussianPsf,
    GibsonLanniPsf,
    IdentityPsf,
    LightSheetPsf,
    TwoPhotonPsf,
    WidefieldPsf,
)
from ssi_pipeline.config.psf_varying import PsfConfig, VaryingPsf, parts_of, varies
from ssi_pipeline.config.sections import (
    BoundsConfig,
    ClassicalConfig,
    InputConfig,
    MaskingConfig,
    NetworkConfig,
    OutputConfig,
    PublishedConfig,
    QualityConfig,
    TilingConfig,
    TrainingConfig,
)
from ssi_pipeline.config.sensor import SensorConfig
from ssi_pipeline.config.slurm import SlurmConfig

__all__ = [
    "COMPUTED_KINDS",
    "Blurring",
    "BoundsConfig",
    "ClassicalConfig",
    "ComputedPsf",
    "ConfocalPsf",
    "DepthByZ",
    "ExecutorConfig",
    "FilePsf",
    "GaussianPsf",
    "GibsonLanniPsf",
    "IdentityPsf",
    "InputConfig",
    "LightSheetPsf",
    "MaskingConfig",
    "NetworkConfig",
    "OnEndConfig",
    "OutputConfig",
    "PsfConfig",
    "PublishedConfig",
    "QualityConfig",
    "RunConfig",
    "SensorConfig",
    "SlurmConfig",
    "TilingConfig",
    "TrainingConfig",
    "TwoPhotonPsf",
    "VaryingPsf",
    "WidefieldPsf",
    "differences",
    "digest",
    "flatten",
    "load_config",
    "parse_config",
    "parts_of",
    "varies",
]
