"""ssi_pipeline: self-supervised deconvolution of microscopy volumes too large for memory.

``import ssi_pipeline as ssi`` gives the Python API; each name is loaded when it is first used (``__init__.pyi`` is for
editors and type checkers).
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "deconvolve": "ssi_pipeline.api.deconvolve",
    "Result": "ssi_pipeline.api.deconvolve",
    "psf": "ssi_pipeline.psf",
    "errors": "ssi_pipeline.errors",
}
"""Module of each public name; where the name is that of the module, the module itself is meant."""


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*_PUBLIC, "__version__"])
