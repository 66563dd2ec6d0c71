"""Verify many images: read every written block of each back, and the metadata around them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ssi_pipeline.errors import InputError, LockedError, OutputError, SsiError
from ssi_pipeline.results.collection import note_damage
from ssi_pipeline.run.checks.verify import Verification, verify
from ssi_pipeline.run.checks.verify_input import describe_input, verify_input
from ssi_pipeline.run.images.checks import sole_run
from ssi_pipeline.run.images.layout import layout_of
from ssi_pipeline.run.images.tables import damaged_plate_tables
from ssi_pipeline.storage.outputs.collection import damaged_groups, is_collection
from ssi_pipeline.storage.outputs.output import set_status
from ssi_pipeline.storage.state.collection import Collection
from ssi_pipeline.storage.state.document import StatePaths


@dataclass(frozen=True, slots=True)
class ImagesVerification:
    """Result for each image that was begun, by name; ``pending``: images that were not.

    ``damage``: of the metadata around the images. ``errors``: images that could not be verified, with the reason.
    ``inputs``: what was found of the inputs, by image, and whether any changed.
    """

    images: dict[str, Verification]
    pending: int
    damage: tuple[str, ...]
    errors: dict[str, str]
    inputs: dict[str, tuple[str, ...]]
    changed: bool = False

    @property
    def bad(self) -> bool:
        """Whether anything is damaged, changed or unreadable."""
        found = any(result.problems or result.damage or result.unread for result in self.images.values())
        return bool(found or self.damage or self.errors or self.changed)

    @property
    def good(self) -> bool:
        """Whether every image is complete, readable, and as recorded."""
        return not self.bad and not self.pending and all(result.good for result in self.images.values())


def verify_images(collection: Collection, inputs: bool = False) -> ImagesVerification:
    """Verify every image that was begun; bad ones are noted, so that the next run repairs them.

    ``inputs``: also compare the inputs with the pixels that the tiles were computed from.

    Raises
    ------
    InputError
        There is no run.
    """
    if not collection.paths.document.exists():
        raise InputError(f"no run found at {collection.paths.root}: start one with `ssi run`")
    # before the images: a bad one changes what the output has to say
    damage = damaged_groups(collection.config.output.folder, layout_of(collection, {}))
    damage += damaged_plate_tables(collection)
    found: dict[str, Verification] = {}
    errors: dict[str, str] = {}
    sources: dict[str, tuple[str, ...]] = {}
    pending, changed = 0, False
    for image in collection.images:
        if not StatePaths(collection.paths.state(image.name)).document.exists():
            pending += 1
            continue
        config = collection.config_of(image)
        try:
            if inputs:
                source = verify_input(config)
                sources[image.name] = tuple(describe_input(source))
                changed = changed or bool(source.changed or source.unreadable)
            result = found[image.name] = verify(config)
        except (SsiError, OSError) as error:
            errors[image.name] = str(error)
            continue
        if bad := len(result.damage) + len(result.problems):
            note_damage(collection, image, f"{bad} blocks or files are damaged")
    verified = ImagesVerification(found, pending, tuple(damage), errors, sources, changed)
    if verified.bad:
        _mark(collection)
    return verified


def _mark(collection: Collection) -> None:
    """Mark the output as incomplete, unless a run is active, which does so itself."""
    output = collection.config.output.folder
    with suppress(LockedError, OutputError), sole_run(collection.config, lambda _: None):
        if is_collection(output):
            set_status(output, "incomplete")


def describe_images(found: ImagesVerification) -> list[str]:
    """Return the problems with the name of their image, then the counts, then the next step."""
    lines = list(found.damage)
    for name, result in found.images.items():
        lines += [f"{name}: {text}" for text in (*result.damage, *result.problems)]
    lines += [f"{name}: not verified: {error}" for name, error in found.errors.items()]
    for name, said in found.inputs.items():
        lines += [f"{name}: {text}" for text in said]
    results = found.images.values()
    blocks, missing = sum(r.blocks for r in results), sum(r.missing for r in results)
    bad = sum(len(r.problems) + r.unread for r in results)
    good = sum(r.good for r in results)
    total = len(found.images) + len(found.errors) + found.pending
    lines.append(
        f"{blocks - missing - bad} of {blocks} blocks are good, {missing} pending, {bad} bad; {good} of {total} images "
        f"are good{f', {found.pending} not begun' if found.pending else ''}"
    )
    if found.bad:
        lines.append("`ssi run` repairs what is damaged; then verify again")
    return lines
