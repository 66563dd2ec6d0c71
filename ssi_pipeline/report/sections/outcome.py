"""Outcome section: counts, methods, times and memory."""

from __future__ import annotations

import math

import numpy as np

from ssi_pipeline.methods import RESULTS
from ssi_pipeline.redact import redact
from ssi_pipeline.report.facts import RunFacts
from ssi_pipeline.report.ranking import alarm_counts
from ssi_pipeline.report.section import Section, render
from ssi_pipeline.report.words import date, number, scaled, seconds, share, sizes
from ssi_pipeline.results.alarms import channel_alarms
from ssi_pipeline.results.channel_facts import channel_psfs
from ssi_pipeline.results.unmeasured import describe_fill, describe_unmeasured
from ssi_pipeline.storage.state.ledger import DONE
from ssi_pipeline.tasks.context import NO_FILL


def headline(facts: RunFacts) -> tuple[str, str]:
    """Return the state of the run as a CSS class and in words."""
    if facts.running:
        return "running", "running"
    if facts.complete:
        return "complete", "complete"
    if facts.tiles_failed:
        return "failed", f"incomplete: {number(facts.tiles_failed)} of {number(len(facts.finished))} tiles failed"
    return "incomplete", "incomplete: resume with ssi run"


def outcome_section(facts: RunFacts) -> Section:
    """Summarise counts, methods, times and memory."""
    plan = facts.context.plan
    tiles, done, failed = plan.n_tiles, facts.tiles_done, facts.tiles_failed
    written = facts.state.count("stitch", DONE)
    tiers = [
        ("tiles done", number(done), f"{share(done, tiles)} of {number(tiles)}"),
        ("tiles failed", number(failed), share(failed, tiles)),
        ("tiles pending", number(tiles - done - failed), share(tiles - done - failed, tiles)),
        *_alarms(facts),
        ("blocks written", number(written), f"of {number(plan.n_blocks)}"),
        *_speed(facts),
    ]
    html = render(
        "outcome",
        tiers=tiers,
        rows=_rows(facts),
        methods=_methods(facts),
        notes=facts.notes.most_common(10),
        input_notes=[redact(note) for note in facts.context.document.notes] + _unmeasured(facts),
    )
    return Section("outcome", "Outcome", html)


def _unmeasured(facts: RunFacts) -> list[str]:
    """Return what was not measured: fill and masked pixels."""
    found = [channel.get("fill") or NO_FILL for channel in facts.calibration]
    return describe_fill(found) + describe_unmeasured(facts.metrics, facts.context.plan)


def _alarms(facts: RunFacts) -> list[tuple[str, str, str]]:
    if "flag" not in facts.metrics:
        return []
    flagged, counts = alarm_counts(facts)
    names = ", ".join(f"{name} {number(count)}" for name, count in sorted(counts, key=lambda item: -item[1])[:4])
    return [("tiles with alarms", number(flagged), names or "no outliers")]


_PEAKS = ("peak_bytes", "device_peak_bytes")


def _speed(facts: RunFacts) -> list[tuple[str, str, str]]:
    busy = facts.clock.busy_s
    rate = voxels_done(facts) / busy if busy > 0 else math.nan
    peak, on_gpu = (max(getattr(total, name) for total in facts.totals.values()) for name in _PEAKS)
    return [
        ("working time", seconds(busy), "without pauses between calls"),
        ("throughput", scaled(rate, "voxel/s") if math.isfinite(rate) else "unknown", "over the working time"),
        ("peak memory", scaled(peak, "B") if peak else "unknown", "of one worker process"),
        *([("peak GPU memory", scaled(on_gpu, "B"), "of one worker process")] if on_gpu else []),
        ("workers", number(len(facts.workers)), f"on {_machines(facts)}"),
    ]


def _machines(facts: RunFacts) -> str:
    count = len({worker.rsplit(":", 1)[0] for worker in facts.workers})
    return "1 machine" if count == 1 else f"{count} machines"


def voxels_done(facts: RunFacts) -> int:
    """Return the number of voxels in the cores of the tiles that are done."""
    plan = facts.context.plan
    done = facts.metrics["status"] == 1
    by_place = done.sum(axis=(0, 1))  # z y x
    for core, n in zip(plan.core, plan.extent, strict=True):
        lengths = np.diff(np.append(np.arange(0, n, core), n))
        by_place = np.tensordot(lengths, by_place, axes=(0, 0))
    return int(by_place)


def _rows(facts: RunFacts) -> list[tuple[str, str]]:
    document, plan, clock = facts.context.document, facts.context.plan, facts.clock
    volume = document.volume
    rows = [
        ("input", f"{volume.describe()}, {redact(str(document.config.input.path))}"),
        ("output", f"t c z y x {sizes(plan.shape)} {facts.context.dtype}, {redact(str(document.config.output.path))}"),
        ("solver", _solver(facts)),
        ("tiles", f"{plan.dimensions}D, z y x core {sizes(plan.core)}, blend {sizes(plan.blend)}, "
                  f"halo {sizes(plan.halo)}; grid t c z y x {sizes(plan.tile_grid)}"),
    ]  # fmt: skip
    if clock.first_started is not None and clock.last_finished is not None:
        span = seconds(clock.last_finished - clock.first_started)
        rows.append(("time span", f"{date(clock.first_started)} to {date(clock.last_finished)} ({span})"))
    rows += [("damaged", f"{redact(text)}; the next ssi run recreates it") for text in facts.damage]
    rows += [("alarm", text) for text in channel_alarms(facts.metrics, facts.calibration, channel_psfs(facts.context))]
    total = facts.totals["solve"]
    rows.append(("sum of tile times", f"{seconds(total.seconds)} for {number(total.count)} solved tiles"))
    trainings = facts.metrics["trainings"]
    if (trainings > 0).any():
        repeated = int((trainings > 1).sum())
        rows.append(("repeated trainings", f"{number(repeated)} tiles needed more than one training"))
    return rows


def _solver(facts: RunFacts) -> str:
    config = facts.context.document.config
    scope = config.training.scope.replace("_", " ")
    return f"{config.solver}, networks {scope}" if config.method.network else config.solver


def _methods(facts: RunFacts) -> list[tuple[str, str, str]]:
    codes, done = facts.metrics["method"], facts.metrics["status"] == 1
    found = []
    wanted = facts.context.document.config.method.result
    for result in RESULTS.values():
        count = int(((codes == result.code) & done).sum())
        if count:
            text = result.title
            if result.name == "wiener" and wanted != "wiener":
                text = "fell back to the linear (Wiener) solution"
            found.append((text, number(count), share(count, facts.tiles_done)))
    return found
