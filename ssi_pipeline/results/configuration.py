"""The configuration that an output was made with, as YAML that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ssi_pipeline.config import RunConfig, parse_config
from ssi_pipeline.errors import CorruptDataError, InputError
from ssi_pipeline.storage.outputs.carried import carried_kinds
from ssi_pipeline.storage.outputs.output import read_fingerprint, read_provenance
from ssi_pipeline.storage.state.document import RunDocument, StatePaths


def configuration_text(output: Path) -> str:
    """Return the configuration of an output: from its state folder if that is of the same run, else its provenance.

    Options with their default value are left out. Provenance has no executor, and of PSF files only digests.

    Raises
    ------
    InputError
        The folder is no output of this package, or a file that it was made from is not recorded.
    """
    output = output.resolve()
    provenance = read_provenance(output)
    if not provenance:
        raise InputError(f"{output} has no provenance of ssi: expected an output of `ssi run`")
    config = _from_state(output) or _from_provenance(output, provenance)
    head = f"# Configuration of {output.name}, run {provenance.get('fingerprint', 'unknown')}.\n"
    shown = config.model_dump(mode="json", exclude_defaults=True)
    shown["psf"] = [section.model_dump(mode="json", exclude_defaults=True) for section in config.psf]
    shown["psf"] = shown["psf"] if len(shown["psf"]) > 1 else shown["psf"][0]
    return head + yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def _from_state(output: Path) -> RunConfig | None:
    """Return the configuration in the state folder at its default place, if it is that of the output's run."""
    path = StatePaths(output.with_name(output.name + ".run")).document
    try:
        document = RunDocument.load(path) if path.exists() else None
    except CorruptDataError:
        return None
    if document is None or document.fingerprint != read_fingerprint(output):
        return None
    return document.config.with_output(output)


def _from_provenance(output: Path, provenance: dict[str, Any]) -> RunConfig:
    document = provenance["basis"]["config"]
    parts = [one for section in document["psf"] for one in (section, *(part["psf"] for part in section.get("by", ())))]
    if any(one["kind"] == "file" for one in parts):
        raise InputError(
            f"{output} records of its PSF file only a digest, and its state folder {output.name}.run is not beside it: "
            "put the folder there"
        )
    document = {
        **document,
        "input": {
            **document["input"],
            "path": provenance["input_path"],
            "scene": provenance["basis"]["input"].get("scene"),
        },
        "output": {**document["output"], "path": str(output), "carry": carried_kinds(provenance)},
        "quality": provenance.get("quality", {}),
    }
    return parse_config(document, name=f"the provenance of {output}")
