"""One network for many images: trained on one, applied to others of the same microscope."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ssi_pipeline.api.arguments import merge, nested
from ssi_pipeline.api.deconvolve import opened, solved
from ssi_pipeline.api.display import rows_html
from ssi_pipeline.api.in_memory import prepared_channels, settled, threads_kept
from ssi_pipeline.api.progress import ProgressArgument, Stages, listening
from ssi_pipeline.api.psfs import PsfArgument
from ssi_pipeline.errors import ConfigError, InputError, TrainingError
from ssi_pipeline.phases import Training
from ssi_pipeline.physics.psf import Psf
from ssi_pipeline.psf import Lengths
from ssi_pipeline.storage.inputs.array_source import ArraySource
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.tasks.array_context import Channel

if TYPE_CHECKING:
    from ssi_pipeline.inversion.network.checkpoint import Model


class Inverse:
    """The inverse f of a microscope: a network that all tiles share (``training.scope: shared``).

    Each image is calibrated on its own; the network is that of the image it was fitted to.

    Examples
    --------
    >>> import ssi_pipeline as ssi
    >>> inverse = ssi.Inverse(2.0, training={"steps": 100})
    >>> len(inverse.models)  # one for each channel after ``fit``
    0
    """

    def __init__(
        self,
        psf: PsfArgument,
        *,
        axes: str | None = None,
        voxel_size_um: Lengths | None = None,
        dimensions: Literal[2, 3] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Take the arguments of ``deconvolve``."""
        self._psf, self._axes, self._voxel_size_um = psf, axes, voxel_size_um
        self._named = {"tiling.dimensions": dimensions, "executor.device": device, "seed": seed}
        self._options = nested({"training": {"scope": "shared"}})
        merge(self._options, nested(options))
        if self._options["training"]["scope"] == "per_tile" or self._options.get("solver", "ssi") != "ssi":
            raise ConfigError(
                "Inverse trains one network for all tiles: expected solver ssi, and scope shared or fine_tune"
            )
        self.models: tuple[Model, ...] = ()
        self._origin = ("fitted on", "nothing yet: call fit")
        self._trainings: list[Training | None] = []

    def fit(self, image: Any, *, progress: ProgressArgument = None) -> Inverse:
        """Train the network on an image, one for each channel, and return this object; ``progress``: as ``deconvolve``.

        Raises
        ------
        TrainingError
            No network predicts hidden pixels better than the Wiener filter.
        """
        pixels, context, _ = opened(image, self._psf, self._axes, self._voxel_size_um, self._named, self._options)
        source = context.image
        assert isinstance(source, ArraySource)
        with listening(progress) as listener:
            if isinstance(pixels, np.ndarray):
                with threads_kept():
                    channels = prepared_channels(settled(context), Stages(listener))
            else:
                from ssi_pipeline.api.graph import fitted_channels

                channels = fitted_channels(pixels, context, source.axes)
        models = [channel.model for channel in channels if channel.model is not None]
        if len(models) < len(channels):
            raise TrainingError(
                "no network predicts hidden pixels better than the Wiener filter: expected more content"
            )
        self.models = tuple(models)
        self._origin = ("fitted on", f"{pixels.shape} {pixels.dtype}, axes {source.axes.names}")
        self._trainings = [channel.training for channel in channels]
        return self

    def predict(
        self, image: Any, *, uncertainty: int = 0, metrics: bool = False, progress: ProgressArgument = None
    ) -> Any:
        """Deconvolve an image with the network; arguments and result are as of ``deconvolve``.

        Raises
        ------
        ConfigError, InputError
            There is no network yet, or the image has other channels or a very different intensity scale.
        """
        if not self.models:
            raise ConfigError("there is no network yet: call fit, or Inverse.load")
        named = {**self._named, "output.uncertainty": uncertainty}
        given = [Channel({}, model) for model in self.models]
        open_ = opened(image, self._psf, self._axes, self._voxel_size_um, named, self._options, given)
        found = solved(*open_, metrics, progress)
        return found if uncertainty or metrics else found.image

    def save(self, path: str | PathLike[str]) -> None:
        """Write weights and PSF: one file, or a folder with a file for each channel, as ``training.start_from`` reads.

        Raises
        ------
        ConfigError
            There is no network yet.
        """
        if not self.models:
            raise ConfigError("there is no network to save: call fit first")
        if len(self.models) == 1:
            self.models[0].save(Path(path))
            return
        for c, model in enumerate(self.models):
            file = _file(Path(path), c)
            file.parent.mkdir(parents=True, exist_ok=True)
            model.save(file)

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Inverse:
        """Read what ``save`` wrote, or a network of a run; ``options``: as of a new object, without PSF and network.

        No code is executed from the file.

        Raises
        ------
        InputError, CorruptDataError
            There is no network, or it is damaged.
        """
        from ssi_pipeline.inversion.network.checkpoint import Model

        folder = Path(path)
        files: list[Path] = []
        if folder.is_dir():
            while _file(folder, len(files)).is_file():
                files.append(_file(folder, len(files)))
        elif folder.is_file():
            files.append(folder)
        if not files:
            raise InputError(f"{path} has no network: expected a .pt file, or a folder with {_file(Path(), 0)}")
        models = [Model.load(file) for file in files]
        document = models[0].document
        loaded = cls(
            [_psf(model, path) for model in models],
            dimensions=document["axes"],
            **{**options, "network": document["network"]},
        )
        loaded.models = tuple(models)
        loaded._origin = ("loaded from", str(path))
        return loaded

    def _repr_html_(self) -> str:
        rows = [self._origin]
        for c, model in enumerate(self.models):
            of_channel = f" of channel {c}" if len(self.models) > 1 else ""
            training = self._trainings[c] if self._trainings else None
            rows += [(name + of_channel, value) for name, value in _model_rows(model, training)]
        return rows_html(rows)


def _model_rows(model: Model, training: Training | None) -> list[tuple[str, str]]:
    network, parameters = model.document["network"], sum(values.size for values in model.state.values())
    shape = "" if model.psf is None else f"PSF of {' x '.join(map(str, model.psf.shape))} pixels, "
    rows = [("network", f"{shape}{network['levels']} levels, {parameters} parameters")]
    if training is not None:
        rows.append(("training", f"{training.step} of at most {training.steps} steps"))
        rows.append(("held-out loss", f"{training.heldout:.4g}; of the Wiener filter {training.linear:.4g}"))
    return rows


def _file(folder: Path, c: int) -> Path:
    return folder / StatePaths(Path()).shared_model(c).name


def _psf(model: Model, path: str | PathLike[str]) -> Psf:
    if model.psf is None:
        raise InputError(f"{path} was saved without its PSF: train it again")
    values = model.psf if model.psf.ndim == 3 else model.psf[np.newaxis]
    return Psf(values)
