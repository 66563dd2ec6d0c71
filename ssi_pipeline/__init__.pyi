from ssi_pipeline import errors as errors
from ssi_pipeline import psf as psf
from ssi_pipeline.api.deconvolve import Result as Result
from ssi_pipeline.api.deconvolve import deconvolve as deconvolve
from ssi_pipeline.api.inverse import Inverse as Inverse
from ssi_pipeline.api.opened_run import open_run as open_run
from ssi_pipeline.api.run import plan as plan
from ssi_pipeline.api.run import preview as preview
from ssi_pipeline.api.run import run as run

__version__: str
