"""Repair missing or damaged metadata of the output, after checking that the output belongs to the run.

The metadata of the arrays are known from the run's document and plan. Where the group itself is unreadable, it cannot
identify the run: then the voxels of some blocks must match the recorded digests.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import CorruptDataError, OutputError
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.outputs.output import OWNER, UNCERTAINTY, has_multiscales, read_fingerprint
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.sink import Sink
from ssi_pipeline.storage.outputs.zarr_metadata import (
    GROUP_FILES,
    difference,
    is_array,
    read_attributes,
    read_document,
    write_document,
)
from ssi_pipeline.storage.state.ledger import DONE, read_states, records_of
from ssi_pipeline.storage.state.parts import ledger_paths
from ssi_pipeline.storage.store import store_of
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import block_place, task_counts
from ssi_pipeline.tasks.write_block import block_digest

Metadata = Mapping[str, bytes]
"""Metadata files of a new output, by path in the output."""

_SAMPLE_BLOCKS = 16
"""Blocks read to identify the run of an output, spread over the image, as blocks of background prove little."""


def look_at_output(output: Place, arrays: tuple[str, ...]) -> Literal["absent", "ours", "damaged", "foreign"]:
    """Classify what exists at an output's path; a damaged output may turn out to belong to another run."""
    store = output_store(output)
    if not store.exists():
        return "absent"
    if not store.is_folder():
        return "foreign"
    if isinstance((read_attributes(output) or {}).get(OWNER), dict):
        return "ours"
    found = store_of(output).names()
    root = read_document(output / "zarr.json") or {}
    if "node_type" in root or ".zarray" in found or read_document(output / ".zattrs"):
        return "foreign"
    levels = {name.partition("/")[0] for name in arrays}
    names = {name for name in found if not name.startswith(".")}
    return "damaged" if names & levels and names <= levels | {"quality", "zarr.json"} else "foreign"


def damaged_metadata(output: Place, metadata: Metadata) -> dict[str, str]:
    """Return the damaged metadata files of an output, each with its problem."""
    found = ((name, _problem(output / name, json.loads(content))) for name, content in metadata.items())
    return {name: problem for name, problem in found if problem is not None}


def _problem(file: Place, expected: dict[str, Any]) -> str | None:
    document = read_document(file)
    if document is None:
        found = store_of(file.parent).look(file.name)
        if found is None:
            return "missing" if expected else None
        return f"unreadable ({found.size} bytes)"
    if is_array(expected):
        return difference(document, expected)
    if document.get("node_type") != expected.get("node_type"):
        return f"not the metadata of a group ({document.get('node_type')})"
    wanted = expected.get("attributes", expected)
    if has_multiscales(wanted) and not has_multiscales(document.get("attributes", document)):
        return "without OME-Zarr metadata (multiscales)"
    return None


def repair_output(context: Context, metadata: Metadata, log: Callable[[str], None]) -> None:
    """Rewrite damaged metadata of this run's output; readable attributes are kept.

    Raises
    ------
    OutputError
        The group cannot be read, and the voxels do not match this run's digests.
    """
    output, fingerprint = context.document.config.output.path, context.document.fingerprint
    place = look_at_output(output, context.arrays)
    if place not in ("ours", "damaged") or (place == "ours" and read_fingerprint(output) != fingerprint):
        return  # missing, or not this run's: refused elsewhere
    damage = damaged_metadata(output, metadata)
    if not damage:
        return
    if place == "damaged":
        _verify_owner(context, metadata)
    # the group last: until then readers see an incomplete output
    for name in sorted(damage, key=lambda name: name in GROUP_FILES):
        _write(output, name, metadata[name])
        log(f"{output / name} was {damage[name]}: rewritten")


def _write(output: Place, name: str, content: bytes) -> None:
    file = output / name
    found, expected = read_document(file), json.loads(content)
    if found is None:
        store_of(output).write(name, content)
    elif is_array(expected):
        kept = {"attributes": found["attributes"]} if isinstance(found.get("attributes"), dict) else {}
        write_document(file, {**expected, **kept})
    else:
        write_document(file, _under(found, expected))


def _under(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the found attributes, completed by expected ones where they are empty."""
    kept = {key: value for key, value in found.items() if value not in (None, [], {}) or key not in expected}
    both = {key: _under(kept[key], value) for key, value in expected.items() if isinstance(value, dict) and key in kept}
    return {**expected, **kept, **both, **{key: expected[key] for key in ("node_type",) if key in expected}}


def _verify_owner(context: Context, metadata: Metadata) -> None:
    output = context.document.config.output.path
    same = other = 0
    with tempfile.TemporaryDirectory(prefix="ssi-proof-") as folder:
        place = Path(folder, output.name)
        for name, content in metadata.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        done = (read_states(ledger_paths(context.paths), task_counts(context)).status["stitch"] == DONE).nonzero()[0]
        chosen = {int(done[i * len(done) // _SAMPLE_BLOCKS]) for i in range(_SAMPLE_BLOCKS)} if len(done) else set()
        for verdict in _compare(context, place, chosen):
            same, other = same + verdict, other + (not verdict)
    if len(done) and same <= other:
        raise OutputError(
            f"{output} has lost its metadata, and its voxels do not match the digests in {context.paths.root} "
            f"({same} of {len(chosen)} sampled blocks match, {other} do not): restore the right output, or start over "
            "with `ssi run --new` (both are kept as backups)"
        )


def _compare(context: Context, place: Path, blocks: set[int]) -> Iterator[bool]:
    """Yield for each readable block whether its voxels match the recorded digest."""
    ledgers = ledger_paths(context.paths)
    digests = {
        record.index: record.digest
        for record in chain.from_iterable(records_of(path, "stitch") for path in ledgers)
        if record.index in blocks and record.status == "done"
    }
    real = context.open_sinks(writable=False)
    copies = tuple(Sink(path, real[0].axes, real[0].shard, False) for path in (place, place / UNCERTAINTY)[: len(real)])
    for index in sorted(digests):
        layers = _layers(real, copies, block_place(context, "stitch", index))
        if len(layers) == len(copies):
            yield block_digest(layers) == digests[index]


def _layers(real: Sequence[Sink], copies: Sequence[Sink], place: tuple[int, int, int, Box]) -> list[NDArray[Any]]:
    """Return the layers of a block by the expected metadata, up to one that is missing or unreadable."""
    layers = []
    for sink, copy in zip(real, copies, strict=True):
        file = copy.file_of(*place)
        assert isinstance(file, Path)
        name = file.relative_to(str(copy.path)).as_posix()
        store = store_of(sink.path)
        if not store.exists(name):
            break
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(store.read(name))
        try:
            layers.append(copy.read(*place))
        except CorruptDataError:
            break
        finally:
            file.unlink()
    return layers
