"""What there is to see of a run, as layers: of its configuration, its state folder, or an output on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssi_pipeline.config import RunConfig
from ssi_pipeline.config.url import Place
from ssi_pipeline.errors import InputError
from ssi_pipeline.geometry.volume import AXES
from ssi_pipeline.report.drawing import limits
from ssi_pipeline.report.facts import RunFacts, read_facts
from ssi_pipeline.report.views import View, choose_view, measured, read_input, read_output
from ssi_pipeline.storage.inputs.source import spec_of
from ssi_pipeline.storage.outputs.output import is_ours, read_status
from ssi_pipeline.storage.outputs.output_store import output_store
from ssi_pipeline.storage.outputs.quality_arrays import TILE_DIMENSIONS, read_quality
from ssi_pipeline.storage.state.document import StatePaths
from ssi_pipeline.storage.state.found_run import load_run
from ssi_pipeline.storage.state.ledger import DONE
from ssi_pipeline.tasks import Context
from ssi_pipeline.tasks.opening import open_context
from ssi_pipeline.view.images import LayerData, OutputImage, Window, input_layers, output_layers, uncertainty_layers
from ssi_pipeline.view.maps import ALWAYS, SHOWN, tile_layers, unwritten_layers

_LOOK = 1 << 20
"""Characters of a YAML file that are looked at, to tell whether it is a configuration."""

_LOW, _HIGH = 0.5, 99.8
"""Percentiles of input and output together that map to black and white, as in the report."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A run to look at.

    Attributes
    ----------
    path
        Its output.
    layers
        From the bottom up.
    middle
        A position worth looking at first, in world coordinates by axis: in the middle, or where there is something.
    running
        A process is still writing.
    notes
        What cannot be shown, and why.
    """

    path: Place
    layers: list[LayerData]
    middle: dict[str, float]
    running: bool = False
    notes: list[str] = field(default_factory=list)


def is_run(path: Path) -> bool:
    """Tell whether a path is a configuration, an output or a state folder of a run, by a look at a small file."""
    if path.is_dir():
        return is_ours(path) or StatePaths(path).document.exists()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = f"\n{stream.read(_LOOK)}"
    return all(f"\n{key}:" in text for key in ("input", "output", "psf"))


def config_of(path: Path, changes: Sequence[str] = ()) -> RunConfig | Path:
    """Return the configuration of a run by its file, output or state folder; the path of an output that is alone.

    ``changes``: as of ``--set``, for a file.

    Raises
    ------
    ConfigError, InputError
        The file is invalid, or there is no run.
    """
    try:
        return load_run(path, changes)
    except InputError:
        if not path.is_dir() or not is_ours(path):
            raise
        return path


def open_run(run: RunConfig | Path, maps: tuple[str, ...] = SHOWN) -> Opened:
    """Open what ``config_of`` returns.

    Raises
    ------
    InputError
        There is no run, or it has no output yet.
    """
    return _open_output(run, maps) if isinstance(run, Path) else _open_config(run, maps)


def _open_config(config: RunConfig, maps: tuple[str, ...]) -> Opened:
    context = open_context(config)
    facts = read_facts(context, "")
    path = context.document.config.output.path
    if not output_store(path).exists():
        raise InputError(f"{path} does not exist: the run has no output yet, or it was moved; `ssi status` says more")
    output = OutputImage(path)
    view = choose_view(facts)
    windows = [_window(facts, view, c) for c in range(output.n_channels)]
    layers, notes = _inputs(context, output, windows)
    layers += [*output_layers(output, windows), *uncertainty_layers(output, windows)]
    layers += run_maps(facts, output, maps)
    first = {"t": view.t, "z": view.box.start[0]}
    return Opened(path, layers, _world(output, first), facts.running, notes)


def _world(output: OutputImage, position: Mapping[str, int]) -> dict[str, float]:
    frame = output.frame
    return {axis: frame.translate[axis] + frame.scale[axis] * i for axis, i in position.items() if axis in frame.axes}


def run_maps(facts: RunFacts, output: OutputImage, maps: tuple[str, ...]) -> list[LayerData]:
    """Return the layers of tiles and blocks as the run is now."""
    plan = facts.context.plan
    tiles = output.frame.cells(dict(zip("zyx", plan.core, strict=True)))
    blocks = output.frame.cells(dict(zip("zyx", plan.shard, strict=True)))
    written = facts.state.status["stitch"].reshape(plan.block_grid) == DONE
    return [
        *tile_layers(tiles, facts.metrics, output.channels, maps),
        *unwritten_layers(blocks, written, output.channels),
    ]


def _inputs(context: Context, output: OutputImage, windows: list[Window]) -> tuple[list[LayerData], list[str]]:
    """Return the layers of the input, or none and the reason."""
    try:
        spec = spec_of(context.document.config.input, context.document.frames)
        return input_layers(spec, output, windows, context.origin[1]), []
    except InputError as error:
        return [], [f"the input is not shown: {error}"]


def _window(facts: RunFacts, view: View, c: int) -> Window:
    """Return the contrast of a channel: input and output on a plane that is written, without fill and masked pixels."""
    before, after = read_input(facts, view, c), read_output(facts, view, c)
    seen = True if before is None else measured(facts, view, c, before)
    found = [np.where(seen, values, np.nan).ravel() for values in (before, after) if values is not None]
    return limits(np.concatenate(found), _LOW, _HIGH) if found else (0.0, 1.0)


def _open_output(path: Path, maps: tuple[str, ...]) -> Opened:
    """Open an output without state folder and input: its images, and the metrics in ``quality/``."""
    output = OutputImage(path)
    smallest = [output.channel(c)[-1] for c in range(output.n_channels)]
    windows = [limits(level[tuple(n // 2 for n in level.shape[:-2])], _LOW, _HIGH) for level in smallest]
    layers = [*output_layers(output, windows), *uncertainty_layers(output, windows)]
    notes = [f"{path.name}.run is not beside the output: its input is not known, and is not shown"]
    if read_status(path) != "complete":
        notes.append("the output is not complete: what was not written is shown as zero")
    found = {name: read_quality(path, name) for name in (*ALWAYS, *maps)}
    metrics = {name: values for name, values in found.items() if values is not None}
    if metrics.keys() >= set(ALWAYS):
        layers += tile_layers(output.frame.cells(_core(output)), metrics, output.channels, maps)
    middle = {axis: n // 2 for axis, n in zip(output.axes, output.levels[0].shape, strict=True) if axis in "tz"}
    return Opened(path, layers, _world(output, middle), notes=notes)


def _core(output: OutputImage) -> dict[str, int]:
    """Return the distance between tiles by axis, from the positions in ``quality/``."""
    sizes: dict[str, int] = dict(zip(output.axes, output.levels[0].shape, strict=True))
    found: dict[str, int] = {}
    for axis, name in zip(AXES, TILE_DIMENSIONS, strict=True):
        first = read_quality(output.path, name)
        found[axis] = int(first[1] - first[0]) if first is not None and len(first) > 1 else sizes.get(axis, 1)
    return found
