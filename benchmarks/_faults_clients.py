"""Faults of users and clocks: several clients at once, clients whose clocks are an hour apart."""

from __future__ import annotations

import sys
from collections import Counter

from _faults import Bench, Fault, Tally

_HELD = "another run works on this output"
_HOUR = 3600

_SHIFTED = """
import sys, time
real = time.time
time.time = lambda: real() + ({shift})
from ssi_pipeline.cli import main
sys.exit(main())
"""


def _with_clock(shift: int) -> tuple[str, ...]:
    """Return the program `ssi` with a clock that is so many seconds ahead."""
    return sys.executable, "-c", _SHIFTED.format(shift=shift)


def second_client(bench: Bench, tally: Tally) -> None:
    """Refused with status 3 and the process that holds the lock; the first one is unharmed."""
    for _ in bench.times(1, 2):
        case = bench.case()
        first = case.start(sleep=1.5)
        first.wait_for(lambda case=case: case.done() >= 2)
        for program in ({}, {"program": _with_clock(_HOUR)}, {"program": _with_clock(-_HOUR)}):
            tally.times += 1
            tally.ended(case.start(**program), 3, _HELD, str(first.process.pid))
        tally.expect(first.process.poll() is None, "the first client had ended before the others asked")
        tally.ended(first, 0)
        tally.judge(case, bench.expected())


def six_clients(bench: Bench, tally: Tally) -> None:
    """Exactly one works, the others are refused with status 3."""
    for _ in bench.times(1, 3):
        case = bench.case()
        calls = [case.start(sleep=2) for _ in range(6)]
        tally.times += 1
        statuses = Counter(call.end() for call in calls)
        tally.ends += statuses.elements()
        tally.expect(statuses == {0: 1, 3: 5}, f"exit statuses {dict(statuses)}: " + "".join(c.text() for c in calls))
        tally.judge(case, bench.expected())


def other_clock(bench: Bench, tally: Tally) -> None:
    """Correct time, then an hour ahead, then an hour behind; the client's clock only, workers keep the correct time."""
    for _ in bench.times(1, 2):
        case = bench.case()
        for number, shift in enumerate((0, _HOUR, -_HOUR)):
            call = case.start(program=_with_clock(shift), sleep=0.7)
            if shift < 0:
                break
            call.wait_for(lambda case=case, number=number: case.done() >= 5 * (number + 1))
            tally.killed(call)
        tally.ended(call, 0)
        tally.judge(case, bench.expected())


FAULTS = (
    Fault("second", "a second client, also with a clock an hour off", second_client),
    Fault("six", "six clients at the same moment", six_clients),
    Fault("clocks", "killed, resumed with clocks an hour ahead and behind", other_clock),
)
