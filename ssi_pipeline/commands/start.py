"""The commands init, info, config, crate, schema and completion."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ssi_pipeline.commands.screen import Screen
from ssi_pipeline.errors import ConfigError
from ssi_pipeline.exit_status import ExitStatus

if TYPE_CHECKING:
    from ssi_pipeline.config.template import Filling
    from ssi_pipeline.storage.inputs.facts import Facts


def init(options: argparse.Namespace) -> int:
    """Write a configuration; what an image says of itself is filled in, what it does not say is marked."""
    from ssi_pipeline.commands.first_config import filling_for
    from ssi_pipeline.config.template import fill

    path = options.config
    if path.exists():
        raise ConfigError(f"{path} exists: choose another name, or remove it")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist")
    if options.full and options.source is not None:
        raise ConfigError("--full and --from are exclusive: a workflow has only the options that it sets")
    text = _template(options)
    facts = None
    if options.input is not None:
        from ssi_pipeline.storage.inputs.facts import read_facts

        facts = read_facts(options.input, scene=options.scene)
    filling = filling_for(options, facts)
    with path.open("x", encoding="utf-8") as stream:  # "x": also refuses a file created meanwhile
        stream.write(fill(text, filling))
    _say_what_to_do(Screen(options), path, facts, filling, options.source)
    return ExitStatus.COMPLETE


def _template(options: argparse.Namespace) -> str:
    from ssi_pipeline.config.examples import example_text
    from ssi_pipeline.config.template import first_template_text, template_text

    if options.source is None:
        return template_text() if options.full else first_template_text()
    text = example_text(options.source, options.config)
    if "\ninput:\n" not in text and (options.input or options.psf):
        raise ConfigError(f"--from {options.source} is no configuration of a run: expected no --input and no --psf")
    return text


def _say_what_to_do(screen: Screen, path: Path, facts: Facts | None, filling: Filling, source: str | None) -> None:
    from ssi_pipeline.config.template import FILL_IN

    if facts is None:
        first = f"set input.path, output.path and psf, then `ssi plan {path}`"
        first = first if source is None else "its first lines say what to set, and how to use it"
        screen.say(f"wrote {path}: {first}")
        return
    screen.say(f"wrote {path} for {facts.path}: {facts.volume.describe()}")
    for note in facts.notes:
        screen.hint(f"note: {note}")
    if filling.lacking:
        screen.say(f"to fill in, in the lines marked {FILL_IN}: {', '.join(filling.lacking)}")
    screen.hint(f"then: ssi plan {path}")


def info(options: argparse.Namespace) -> int:
    """Print what is in an image."""
    from ssi_pipeline.commands.info import describe, document, needs
    from ssi_pipeline.storage.inputs.facts import plane_values, read_facts

    facts = read_facts(options.image, options.level, options.axes, options.scene)
    values = plane_values(facts, options.level, options.axes)
    run = needs(facts, options.level, options.axes)
    Screen(options).result(describe(facts, values, run), document(facts, values, run))
    return ExitStatus.COMPLETE


def config(options: argparse.Namespace) -> int:
    """Print the configuration of an output."""
    from ssi_pipeline.results.configuration import configuration_text

    Screen(options).say(configuration_text(options.output), end="")
    return ExitStatus.COMPLETE


def crate(options: argparse.Namespace) -> int:
    """Write the RO-Crate of an output."""
    from ssi_pipeline.results.crate import write_crate

    Screen(options).say(f"wrote {write_crate(options.output)}")
    return ExitStatus.COMPLETE


def schema(options: argparse.Namespace) -> int:  # noqa: ARG001 no options
    """Print the JSON schema of the configuration."""
    from ssi_pipeline.config.schema import config_schema

    print(json.dumps(config_schema(), indent=2))
    return ExitStatus.COMPLETE


def completion(options: argparse.Namespace) -> int:
    """Print the completion for a shell."""
    from ssi_pipeline.commands.completion import completion_text
    from ssi_pipeline.commands.parser import make_parser

    print(completion_text(options.shell, make_parser()), end="")
    return ExitStatus.COMPLETE
