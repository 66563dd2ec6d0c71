"""State folder of a run of many images: which images it has, and the state folder of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssi_pipeline.config import RunConfig
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.storage.atomic import write_json
from ssi_pipeline.storage.inputs.images import Image, list_images, matches
from ssi_pipeline.storage.inputs.source import STACK
from ssi_pipeline.storage.small_files import read_json
from ssi_pipeline.storage.state.document import ALGORITHM, options_of


@dataclass(frozen=True, slots=True)
class CollectionPaths:
    """Paths inside the state folder of a collection."""

    root: Path

    @property
    def document(self) -> Path:
        """The images, and the options that all have in common."""
        return self.root / "images.json"

    @property
    def pool(self) -> Path:
        """Output of a run over some of the images as one, of which only the channels are prepared."""
        return self.root / "shared.zarr"

    @property
    def shared(self) -> Path:
        """State folder of that run, with the calibration and the networks that all images use."""
        return self.root / "shared.zarr.run"

    @property
    def pooled(self) -> Path:
        """List of the images that it reads."""
        return self.root / f"shared{STACK}"

    def state(self, name: str) -> Path:
        """State folder of an image."""
        return self.root / "images" / name

    def summary(self, name: str) -> Path:
        """Counts of an image at the last look: a cache."""
        return self.root / "summaries" / f"{name}.json"


@dataclass(frozen=True, slots=True)
class Collection:
    """The images of a run.

    ``config``: of all of them. ``plate``: metadata of the input's plate, or empty. ``earlier``: the options that they
    were started with; empty before the first start.
    """

    config: RunConfig
    images: tuple[Image, ...]
    plate: Mapping[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> CollectionPaths:
        """Paths inside the state folder."""
        return CollectionPaths(self.config.state_path)

    def config_of(self, image: Image) -> RunConfig:
        """Return the configuration of one image, as that of any run."""
        output, state = self.config.output.folder / image.name, self.paths.state(image.name)
        found = self.config.of_image(image.path, output, state, image.scene)
        return found.with_shared(self.config.input.share, self.paths.shared)

    def matching(self, pattern: str) -> tuple[Image, ...]:
        """Return the images whose name matches.

        Raises
        ------
        InputError
            There are none.
        """
        found = tuple(i for i in self.images if i.name == pattern or matches(i.name, pattern))
        if not found:
            names = ", ".join(image.name for image in self.images[:3])
            raise InputError(f"--image {pattern!r} is none of the {len(self.images)} images: expected e.g. {names}")
        return found

    def save(self) -> None:
        """Write the images to the state folder, atomically."""
        images = [[i.name, str(i.path), i.well, i.acquisition, i.scene] for i in self.images]
        write_json(self.paths.document, {"images": images, "plate": self.plate, "options": self.options})

    @property
    def options(self) -> dict[str, Any]:
        """The options that can change a result, and what the images share."""
        return {"algorithm": ALGORITHM, **options_of(self.config), "share": self.config.input.share}


def open_collection(config: RunConfig) -> Collection:
    """Return the images of a configuration: those that its run has already, then those that match now.

    Raises
    ------
    InputError
        None matches, or one has the name of another.
    CorruptDataError
        The list of the run cannot be read.
    """
    path = config.input.path
    assert config.input.images is not None
    assert isinstance(path, Path)
    known = recorded_images(config)
    try:
        catalogue = list_images(path, config.input.images)
        found = catalogue.chosen(config.input.images)
    except InputError:
        if known is None or path.exists():
            raise
        return known  # the input was moved away: what was done can still be looked at
    if config.input.scene is not None and any(image.scene is not None for image in found):
        raise InputError(
            f"input.scene is {config.input.scene} and chooses one image of {path}, and input.images several: remove one"
        )
    if known is None:
        return Collection(config, found, catalogue.plate)
    return replace(known, images=_joined(known.images, found), plate=catalogue.plate)


def recorded_images(config: RunConfig) -> Collection | None:
    """Return the images of an earlier call; None without any."""
    path = CollectionPaths(config.state_path).document
    try:
        document = read_json(path)
        images = [Image(name, Path(file), *rest) for name, file, *rest in document["images"]]
        return Collection(config, tuple(images), document["plate"], document["options"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"{path} cannot be read ({error}): remove it, and the next `ssi run` writes it again"
        ) from error


def _joined(known: Iterable[Image], found: Iterable[Image]) -> tuple[Image, ...]:
    """Return the known images, with their current places, and then the new ones."""
    now = {image.name: image for image in found}
    return (*(now.pop(image.name, image) for image in known), *now.values())
