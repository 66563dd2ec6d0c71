"""Summarise a run at its end, from the tally of its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ssi_pipeline.methods import UNMEASURED
from ssi_pipeline.redact import redact
from ssi_pipeline.results.finish import METHODS
from ssi_pipeline.results.ledger_summary import Tally
from ssi_pipeline.run.lost_tasks import LostTasks
from ssi_pipeline.storage.state.ledger import DONE, FAILED, LedgerState

_FEW_TASKS, _MOST_CAUSES, _LONGEST = 3, 5, 160


@dataclass(frozen=True, slots=True)
class Summary:
    """``methods``: tiles done, by method. ``seconds``: wall time of all recorded tasks of all calls, by device.

    ``causes``: (text, number of tasks, names of the first few), the most frequent first.
    """

    methods: dict[str, int]
    seconds: Mapping[str, float]
    causes: list[tuple[str, int, list[str]]]


def summarise(tally: Tally) -> Summary:
    """Return the summary of a tally; methods unknown to this release are counted together."""
    counts = tally.methods()
    known = {name: counts[name] for name in METHODS if name in counts}
    other = {"other": found} if (found := sum(counts.values()) - sum(known.values())) else {}
    causes = [(cause.text, cause.count, list(cause.first[:_FEW_TASKS])) for cause in tally.failures.causes()]
    return Summary({**known, **other}, tally.seconds, causes)


def describe_summary(
    summary: Summary, state: LedgerState, now: Mapping[str, float], lost: LostTasks, name: str
) -> list[str]:
    """Return the lines of the summary, twelve at most.

    ``now``: seconds of this call, by device. ``name``: the configuration as in a command (file, ``--set``).
    """
    return [
        _tiles(summary, state),
        _hours(summary.seconds, now),
        *_lost(state, lost),
        *_failures(summary, state, name),
    ]


def _tiles(summary: Summary, state: LedgerState) -> str:
    done, failed = (state.count("solve", code) for code in (DONE, FAILED))
    by = ", ".join(f"{n} {'' if name == UNMEASURED else 'by '}{name}" for name, n in summary.methods.items())
    left = len(state.status["solve"]) - done - failed
    return f"tiles: {done} done{f' ({by})' if by else ''}, {failed} failed, {left} pending"


def _hours(total: Mapping[str, float], now: Mapping[str, float]) -> str:
    gpus = sorted(_gpus(total))
    line = f"compute time: {_h(total.values())} worker-hours ({_h(now.values())} in this call)"
    if not gpus:
        return line
    hours = f"{_h(_gpus(total).values())} GPU-hours ({_h(_gpus(now).values())} in this call)"
    return f"{line}; {hours} on {', '.join(gpus)}"


def _gpus(seconds: Mapping[str, float]) -> dict[str, float]:
    return {device: value for device, value in seconds.items() if device not in ("", "cpu", "none")}


def _h(seconds: Iterable[float]) -> str:
    return f"{sum(seconds) / 3600:.3g}"


def _lost(state: LedgerState, lost: LostTasks) -> list[str]:
    if not lost.times:
        return []
    again = sum(_is_done(state, key) for key in lost.times)
    preempted = f" ({lost.preempted} preempted)" if lost.preempted else ""
    times = sum(lost.times.values())
    return [
        f"lost with their workers: {len(lost.times)} tasks, {times} times{preempted}; {again} done since; "
        f"last cause: {_short(lost.last_reason)}"
    ]


def _is_done(state: LedgerState, key: str) -> bool:
    kind, _, index = key.partition("/")
    return any(kind == known and status[int(index)] == DONE for known, status in state.status.items())


def _failures(summary: Summary, state: LedgerState, name: str) -> list[str]:
    if not summary.causes:
        return []
    lines = []
    for text, count, names in summary.causes[:_MOST_CAUSES]:
        more = ", ..." if count > len(names) else ""
        lines.append(f"failed ({count}): {_short(text)} ({', '.join(names)}{more})")
    if (left := len(summary.causes) - _MOST_CAUSES) > 0:
        lines.append(f"{left} more causes of failure: see `ssi report`")
    option = " --retry-failed" if state.count("solve", FAILED) else ""
    return [*lines, f"to retry: ssi run {name}{option}"]


def _short(text: str) -> str:
    line = redact(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
