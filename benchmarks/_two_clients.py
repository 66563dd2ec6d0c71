"""What two clients are told to do at the same moment, and what may come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssi_pipeline.exit_status import ExitStatus

REASONS = (
    "works on this output",  # another client, by its process
    "is running on this output",  # another part
    "belongs to run",
    "its state",  # ... is gone: the other state folder's output is there
    "is missing, but",  # the output was moved to a backup by --new of the other
    "no run found at",  # a finish with the other state folder
)
"""Words of refusals that say why."""

Arguments = Sequence[str]


@dataclass(frozen=True)
class Combination:
    """Two commands at once. ``first``, ``second``: options of ``ssi run``, and which state folder (0 or 1) they have.

    ``before``: what is there (nothing, half of a run, one part of two, a complete run), of state folder 0.
    ``both``: they are parts of one run, and both work.
    """

    name: str
    first: tuple[int, Arguments]
    second: tuple[int, Arguments]
    before: str = "nothing"
    both: bool = False


def combinations() -> list[Combination]:
    run: Arguments = ()
    half, other, third, finish, new = ("--part", "1/2"), ("--part", "2/2"), ("--part", "2/3"), ("--finish",), ("--new",)
    found = [
        Combination("parts of one run", (0, half), (0, other), both=True),
        Combination("parts of one run, resumed", (0, half), (0, other), "half", both=True),
    ]
    for name, second in (("one state folder", 0), ("two state folders", 1)):
        found += [
            Combination(f"{name}: whole runs", (0, run), (second, run)),
            Combination(f"{name}: the same part twice", (0, half), (second, half)),
            Combination(f"{name}: parts of other numbers", (0, half), (second, third)),
            Combination(f"{name}: whole run, part", (0, run), (second, half)),
            Combination(f"{name}: finish twice", (0, finish), (second, finish), "parts"),
            Combination(f"{name}: finish, whole run", (0, finish), (second, run), "parts"),
            Combination(f"{name}: finish, part", (0, finish), (second, other), "one part"),
            Combination(f"{name}: --new twice", (0, new), (second, new), "complete"),
            Combination(f"{name}: resume twice", (0, run), (second, run), "half"),
            Combination(f"{name}: resume, --new", (0, run), (second, new), "half"),
        ]
    return [*found, Combination("two state folders: parts of one number", (0, half), (1, other))]


def at_once(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> bool:
    """Tell whether one of two clients began to work before the other had ended."""
    if not first or not second:
        return False
    return first[0][0] < second[-1][1] and second[0][0] < first[-1][1]


def judge(combination: Combination, codes: Sequence[int], said: Sequence[str]) -> list[str]:
    """Return what is wrong with how two clients ended."""
    told = " | ".join(text.strip().replace("\n", "; ")[-300:] for text in said)
    if combination.both:
        return [] if set(codes) == {ExitStatus.COMPLETE} else [f"both should work: {codes}: {told}"]
    # another client holds the lock (goes on later), or the output now belongs to another run (never will)
    refused = [n for n in (0, 1) if codes[n] in (ExitStatus.STOPPED, ExitStatus.REFUSED)]
    if len(refused) != 1:
        return [f"{len(refused)} refused: {codes}: {told}"]
    loser, winner = refused[0], 1 - refused[0]
    options = (combination.first, combination.second)[winner][1]
    good = {ExitStatus.COMPLETE}
    if "--finish" in options and combination.before == "one part":
        good.add(ExitStatus.UNFINISHED)  # a finish that comes before the last part says so
    wrong = [] if codes[winner] in good else [f"the one that was let in ended with {codes[winner]}: {told}"]
    if not any(reason in said[loser] for reason in REASONS):
        wrong.append(f"refused without a known reason: {said[loser]}")
    return wrong
