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
"""Functions with the name of a subpackage, and the module of the function."""


class _Callable:
    # A function that also has the names of its package: ``ssi.run(...)`` beside ``import ssi_pipeline.run.driver``.
    # A module that can be called would not do: ``help`` shows the files of what is a module. No docstring of the class,
    # as ``__doc__`` is that of the function. The function's module is imported when it is called or looked at.

    def __init__(self, package: ModuleType) -> None:
        self.__name__ = package.__name__.rpartition(".")[2]
        self.__qualname__ = self.__name__
        self.__module__ = f"{__name__}.{_CALLED[self.__name__]}"
        self._package = package

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self.__wrapped__(*arguments, **options)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return itself: what has this method is a routine for ``inspect`` and ``help``."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Return a name of the package."""
        return getattr(self._package, name)

    @property
    def __wrapped__(self) -> Any:
        """The function, of which ``inspect`` takes signature and source."""
        return getattr(_load(_CALLED[self.__name__]), self.__name__)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """The function's docstring."""
        text: str | None = self.__wrapped__.__doc__
        return text


class _Package(ModuleType):
    """This package: the import of a subpackage sets it as an attribute here."""

    def __setattr__(self, name: str, value: Any) -> None:
        called = name in _CALLED and isinstance(value, ModuleType)
        super().__setattr__(name, _Callable(value) if called else value)


sys.modules[__name__].__class__ = _Package


def _load(path: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{path}")


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _load(_PUBLIC[name])
    return globals()[name] if _PUBLIC[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*_PUBLIC, "__version__"])
