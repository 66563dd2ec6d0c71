"""``ALGORITHM`` is part of a run's fingerprint: it has to change whenever results change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from golden_tiles import CASES, FILE, differ, tile_of

from ssi_pipeline.storage.state.document import ALGORITHM

KEPT: dict[str, Any] = json.loads(FILE.read_text())

RECORD = "then record the results that belong to it: python tests/golden_tiles.py"


def test_the_kept_results_are_of_this_algorithm_and_of_every_solver() -> None:
    assert KEPT["algorithm"] == ALGORITHM, f"ALGORITHM was raised: {RECORD}"
    assert set(KEPT["tiles"]) == set(CASES), f"a solver came or went: {RECORD}"


@pytest.mark.parametrize("case", CASES)
def test_results_change_only_with_the_algorithm(case: str) -> None:
    found, kept = tile_of(case), KEPT["tiles"][case]
    assert not differ(found, kept), (
        f"the result of {case} changed: raise ALGORITHM in ssi_pipeline/storage/state/document.py, {RECORD}\n"
        f"found    {found}\nexpected {kept}"
    )


def test_a_change_is_noticed_and_rounding_is_not() -> None:
    kept = KEPT["tiles"]["ssi"]

    def shifted(share: float) -> dict[str, Any]:
        return {**kept, "values": [value + share * kept["scale"] for value in kept["values"]]}

    assert not differ(shifted(5e-4), kept)
    assert differ(shifted(2e-3), kept)
    assert differ({**kept, "method": "wiener"}, kept)
