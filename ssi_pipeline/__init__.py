"""ssi_pipeline: self-supervised deconvolution of microscopy volumes too large for memory.

``import ssi_pipeline as ssi`` gives the Python API; each name is loaded when it is first used (``__init__.pyi`` is for
editors and type checkers).
"""

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Inverse": "api.inverse",
    "Result": "api.deconvolve",
    "deconvolve": "api.deconvolve",
    "errors": "errors",
    "open_run": "api.opened_run",
    "plan": "api.run",
    "preview": "preview",
    "psf": "psf",
    "run": "run",
}
"""Module of each public name; a name that is a module's means the module itself."""

_CALLED = {"preview": "api.run", "run": "api.run"}
"""Subpackages that are functions as well, and the module of the function."""


class _Callable(ModuleType):
    """A subpackage that can be called: ``ssi.run(...)`` beside ``from ssi_pipeline.run import ...``."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function of the same name."""
        return _called(self)(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        """Signature of the function, for help and editors."""
        import inspect  # 20 ms, which `ssi --version` does not need

        return inspect.signature(_called(self))


class _Package(ModuleType):
    """This package: the import of a subpackage sets it as an attribute here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _load(path: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{path}")


def _called(module: ModuleType) -> Any:
    name = module.__name__.rpartition(".")[2]
    return getattr(_load(_CALLED[name]), name)


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _load(_PUBLIC[name])
    return module if _PUBLIC[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*_PUBLIC, "__version__"])
