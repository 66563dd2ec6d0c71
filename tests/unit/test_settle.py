"""Resolution of device and precision from the configuration and the workers, and workers that do not qualify."""

from __future__ import annotations

from typing import Any

import pytest

from ssi_pipeline.config import parse_config
from ssi_pipeline.errors import ExecutorError
from ssi_pipeline.run.settle import decide, demanded
from ssi_pipeline.run.unfit import UnfitWorkers
from ssi_pipeline.storage.state.compute import Compute, compute_of
from ssi_pipeline.tasks.ability import Ability

NONE = Ability("n1:1", problem="torch sees no GPU")
A100, T4 = Ability("n2:1", "A100", bfloat16=True), Ability("n3:1", "Tesla T4")


def config(solver: str = "ssi", precision: str = "auto", **executor: Any) -> Any:
    document = {"input": {"path": "a"}, "output": {"path": "b"}, "psf": {"kind": "identity"}, "solver": solver}
    return parse_config({**document, "training": {"precision": precision}, "executor": executor})


@pytest.mark.parametrize(
    ("run", "device", "asked", "expected"),
    [
        (config(), "cpu", [], "cpu in float32"),
        (config(precision="bfloat16"), "cpu", [], "cpu in bfloat16"),
        (config(), "cuda", [], None),
        (config(), "cuda", [NONE], None),
        (config(), "cuda", [NONE, A100], "cuda in bfloat16"),
        (config(), "cuda", [T4, A100], "cuda in float32"),
        (config(precision="float32"), "cuda", [], "cuda in float32"),
        (config("wiener"), "cuda", [], "cuda in float32"),
        (config("ssi_published"), "cuda", [], "cuda in float32"),
        (config(), None, [], None),
        (config(), None, [NONE, NONE], "cpu in float32"),
        (config(), None, [NONE, A100], "cuda in bfloat16"),
        (config("wiener"), None, [NONE, T4], "cuda in float32"),
        (config("identity"), None, [], "cpu in float32"),
    ],
)
def test_what_is_decided(run: Any, device: Any, asked: list[Ability], expected: str | None) -> None:
    found = decide(run, device, asked)
    assert (found and str(found)) == expected


@pytest.mark.parametrize(
    ("run", "device"),
    [
        (config(), "cuda"),
        (config(device="cpu"), "cpu"),
        (config(device="cuda"), "cuda"),
        (config("identity", device="cpu"), "cuda"),
    ],
)
def test_a_resumed_run_asks_for_what_it_names_and_else_for_what_there_was(run: Any, device: str) -> None:
    assert demanded(Compute("cuda", "bfloat16"), run) == {"compute": {"device": device, "precision": "bfloat16"}}
    assert demanded(None, run) == {}


def test_gpus_that_are_asked_for_are_no_cpu() -> None:
    assert demanded(Compute("cpu", "float32"), config(gpus=2))["compute"]["device"] == "cuda"


def test_what_is_no_compute_is_refused() -> None:
    assert compute_of({}) is None
    for wrong in ({"device": "tpu", "precision": "float32"}, "cuda", {"device": "cpu"}):
        with pytest.raises(ValueError, match="compute is"):
            compute_of({"compute": wrong})


class Places:
    """Stands for an executor: excludes places, and has others while there are some."""

    def __init__(self, others: int) -> None:
        self.others, self.excluded = others, list[str]()

    def exclude(self, place: str) -> bool:
        self.excluded.append(place)
        self.others -= 1
        return self.others > 0


def test_an_unfit_worker_is_named_once_and_the_last_ends_the_run() -> None:
    said: list[str] = []
    places: Any = Places(others=3)
    unfit = UnfitWorkers(places, "cuda in float32", 8, said.append)
    unfit.note("n1:7", "torch sees no GPU")
    unfit.note("n1:7", "torch sees no GPU")
    assert said == ["n1:7 excluded: it cannot compute on cuda in float32: torch sees no GPU"]
    with pytest.raises(ExecutorError, match=r"no worker can compute on cuda in float32.*n1:7.*n2:1: no device"):
        unfit.note("n2:1", "no device")
    assert places.excluded == ["n1:7", "n1:7", "n2:1"]


def test_many_in_a_row_end_a_run_to_which_others_may_come() -> None:
    unfit = UnfitWorkers(Places(others=99), "cuda in float32", 4, lambda _: None)  # type: ignore[arg-type]
    for n in range(3):
        unfit.note(f"n{n}:1", "old")
    unfit.done()  # one that can
    for n in range(3):
        unfit.note(f"m{n}:1", "old")
    with pytest.raises(ExecutorError, match="no worker can"):
        unfit.note("m3:1", "old")
