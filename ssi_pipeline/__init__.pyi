from ssi_pipeline import errors as errors
from ssi_pipeline import psf as psf
from ssi_pipeline.api.deconvolve import Result as Result
from ssi_pipeline.api.deconvolve import deconvolve as deconvolve

__version__: str
