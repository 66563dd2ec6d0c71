"""Many images in one run: the command images, and what plan, run, status, verify, report and export do with them."""

from __future__ import annotations

import argparse
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ssi_pipeline.commands.screen import Screen, named, note
from ssi_pipeline.config import RunConfig, load_config
from ssi_pipeline.errors import ConfigError, InputError
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssi_pipeline.storage.state.collection import Collection


def images(options: argparse.Namespace) -> int:
    """Print the names of the images in a path."""
    from ssi_pipeline.commands.documents_images import images_document
    from ssi_pipeline.storage.inputs.images import list_images

    pattern = options.match
    catalogue = list_images(options.path, pattern)
    chosen = catalogue.images if pattern == "*" else catalogue.chosen(pattern)
    screen = Screen(options)
    if screen.json:
        screen.result([], images_document(catalogue, chosen))
        return ExitStatus.COMPLETE
    for image in chosen:
        screen.say(image.name)
    screen.hint(
        f"{len(chosen)} images ({catalogue.kind}); in one run: input.path {catalogue.path}, input.images PATTERN"
    )
    return ExitStatus.COMPLETE


_OF_A_RUN = ("run", "status", "verify", "report", "export")
"""Commands that find a run by its folders too; the others are for runs that are still to be made."""


def load(options: argparse.Namespace, changes: Sequence[str] | None = None) -> RunConfig:
    """Load the configuration of a command: a file, or for a run that has begun its output or state folder."""
    changes = options.set if changes is None else changes
    if options.command not in _OF_A_RUN:
        return load_config(options.config, changes)
    from ssi_pipeline.storage.state.found_run import load_run

    return load_run(options.config, changes)


def choose(options: argparse.Namespace, changes: Sequence[str] | None = None) -> RunConfig | Collection:
    """Return the configuration of a command: of the run, of the image named by ``--image``, or the many images.

    Raises
    ------
    ConfigError
        ``--image`` is given, and there is one image.
    InputError
        It names none of them.
    """
    config = load(options, changes)
    if config.input.images is None:
        if options.image is not None:
            raise ConfigError(f"--image {options.image}: the configuration has one image (no input.images)")
        return config
    from ssi_pipeline.storage.state.collection import open_collection

    collection = open_collection(config)
    if options.image is None:
        return collection
    for image in collection.images:
        if image.name == str(PurePosixPath(options.image)):
            return collection.config_of(image)
    if options.command == "run":
        collection.matching(options.image)  # a pattern: refused where nothing matches
        return collection
    names = ", ".join(image.name for image in collection.images[:3])
    raise InputError(f"--image {options.image!r} is none of the {len(collection.images)} images: expected e.g. {names}")


def one(options: argparse.Namespace, changes: Sequence[str] | None = None) -> RunConfig:
    """Return the configuration of one image.

    Raises
    ------
    ConfigError
        There are many, and none is named.
    """
    found = choose(options, changes)
    if isinstance(found, RunConfig):
        return found
    raise ConfigError(
        f"`ssi {options.command}` works on one image, and input.images selects {len(found.images)}: choose one, for "
        f"instance --image {found.images[0].name}"
    )


def plan(options: argparse.Namespace, collection: Collection) -> int:
    """Print the plan of many images."""
    from ssi_pipeline.commands.documents_images import images_plan_document
    from ssi_pipeline.run.images.planning import check_disk, describe_images_plan, plan_images

    if options.pilot:
        raise ConfigError(f"--pilot works on one image: choose it by --image, for instance {collection.images[0].name}")
    found = plan_images(collection)
    Screen(options).result(describe_images_plan(found), images_plan_document(found))
    check_disk(found)
    return ExitStatus.FAILED if found.refused else ExitStatus.COMPLETE


def run(options: argparse.Namespace, config: RunConfig) -> int:
    """Start or resume many images."""
    from ssi_pipeline.run.images.call import ImagesRequest
    from ssi_pipeline.run.images.driver import run_images
    from ssi_pipeline.run.outcome import describe_outcome
    from ssi_pipeline.run.session import Caller

    if options.part is not None or options.finish:
        raise ConfigError(
            "--part and --finish work on one image: many images are run together by executor.kind dask or slurm, or "
            "each in a job of its own (docs/plates.md)"
        )
    if options.new and options.image is not None:
        raise ConfigError("--new starts all images over: expected no --image")
    request = ImagesRequest(
        options.new, options.retry_failed, options.ignore_disk, options.recreate_output, options.image
    )
    caller = Caller(verbosity=options.verbosity, command=options.command_line)
    options.image = None  # messages name the image that they are about
    outcome = run_images(config, request, name=named(options), caller=caller)
    screen = Screen(options)
    if screen.quiet and not outcome.complete:
        note(describe_outcome(outcome))
    if outcome.complete:
        screen.hint(f"look at it: `ssi report {named(options)}`, or in napari `napari {config.output.path}`")
    return outcome.exit_status


def status(options: argparse.Namespace, collection: Collection) -> int:
    """Print the status of many images."""
    from ssi_pipeline.commands.documents_images import images_status_document
    from ssi_pipeline.results.collection import describe_collection, read_collection

    if options.watch:
        raise ConfigError(f"--watch works on one image: choose it by --image, for instance {collection.images[0].name}")
    found = read_collection(collection)
    Screen(options).result(describe_collection(found, named(options)), images_status_document(found))
    if found.counts.get("failed") or found.counts.get("refused"):
        return ExitStatus.FAILED
    return ExitStatus.COMPLETE if found.complete and not found.client else ExitStatus.UNFINISHED


def verify(options: argparse.Namespace, collection: Collection) -> int:
    """Read everything written back, image by image."""
    from ssi_pipeline.commands.documents_images import images_verify_document
    from ssi_pipeline.run.images.verify import describe_images, verify_images

    screen = Screen(options)
    found = verify_images(collection, options.input)
    for line in describe_images(found):
        screen.say(line)
    if screen.json:
        screen.result([], images_verify_document(found))
    if found.bad:
        return ExitStatus.FAILED
    return ExitStatus.COMPLETE if found.good else ExitStatus.UNFINISHED


def report(options: argparse.Namespace, collection: Collection) -> int:
    """Write the index of many images, and with it no report of a single one."""
    from ssi_pipeline.report.images import write_index

    if options.figures is not None:
        raise ConfigError(
            f"--figures works on one image: choose it by --image, for instance {collection.images[0].name}"
        )
    Screen(options).say(f"wrote {write_index(collection, options.output, named(options))}")
    return ExitStatus.COMPLETE
