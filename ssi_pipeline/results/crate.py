"""RO-Crate of an output: its provenance as linked data, in a file that archives and collections of images read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssi_pipeline.errors import InputError, how_to_install
from ssi_pipeline.storage.atomic import write_text
from ssi_pipeline.storage.outputs.output import read_provenance, read_status

CRATE = "ro-crate-metadata.json"
"""Name of the file, by the specification."""


def write_crate(output: Path) -> Path:
    """Write the RO-Crate of a finished output into it, again if it is there; returns the file.

    Raises
    ------
    InputError
        The output is not finished, not ours or of an earlier release, or rocrate is not installed.
    """
    provenance = read_provenance(output)
    if read_status(output) != "complete":
        raise InputError(f"{output}: expected a finished output of `ssi run`; run it to its end first")
    if "calls" not in provenance:
        raise InputError(
            f"{output} was finished by an earlier release, which did not record its calls: a crate needs their times. "
            "`ssi run --new` makes it again; `ssi config` prints its configuration"
        )
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise InputError(f"`ssi crate` needs rocrate: {how_to_install('rocrate', 'crate')}") from error
    crate = ROCrate()
    _describe(crate, output, provenance)
    write_text(output / CRATE, json.dumps(crate.metadata.generate(), indent=2) + "\n")
    return output / CRATE


def _describe(crate: Any, output: Path, provenance: dict[str, Any]) -> None:
    from rocrate.model.contextentity import ContextEntity

    def add(identity: str, kind: str, **facts: Any) -> Any:
        """Add something that is described in the crate and is no file of it."""
        return crate.add(ContextEntity(crate, identity, properties={"@type": kind, **facts}))

    crate.name = output.name
    crate.description = f"OME-Zarr image deconvolved by ssi_pipeline, run {provenance['fingerprint']}"
    crate.datePublished = provenance["end"]
    solver = provenance["basis"]["config"]["solver"]
    source = json.dumps(provenance["basis"]["input"], sort_keys=True)
    image = add("#input", "Dataset", name=provenance["input_path"], description="the measured image", identifier=source)
    softwares = [
        add(f"#{name}", "SoftwareApplication", name=name, softwareVersion=number)
        for name, number in provenance["versions"].items()
    ]
    for number, call in enumerate(provenance["calls"], 1):
        action = add(f"#call-{number}", "CreateAction", name=f"deconvolution ({solver})", description=call["command"])
        action["startTime"] = call["start"]
        if call["end"]:
            action["endTime"] = call["end"]
        # the call that finished the output had an end, and no result yet, when it wrote the provenance
        good = call["end"] and call["result"] in ("complete", None)
        action["actionStatus"] = f"http://schema.org/{'Completed' if good else 'Failed'}ActionStatus"
        action["instrument"], action["object"], action["result"] = softwares, image, crate.root_dataset
        if call["commit"]:
            action["identifier"] = call["commit"]
        crate.root_dataset.append_to("mentions", action)
