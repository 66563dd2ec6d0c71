"""Counts of a ledger, and their display."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ssi_pipeline.config import parse_config
from ssi_pipeline.geometry import Volume, make_plan
from ssi_pipeline.needs import tiling_request
from ssi_pipeline.results.failures import Cause
from ssi_pipeline.results.finish import TileMetrics
from ssi_pipeline.results.ledger_summary import Tally, WorkerTally, read_tally
from ssi_pipeline.results.snapshot import Snapshot
from ssi_pipeline.results.status import RunStatus, describe_status
from ssi_pipeline.results.status_display import bar_cells, plain_line, recent_hosts, view_rows
from ssi_pipeline.results.watch import draw, ended
from ssi_pipeline.run.summary import summarise
from ssi_pipeline.storage.state.ledger import Ledger, read_records
from ssi_pipeline.storage.state.records import Kind, TaskRecord, head_of

NOW = 1_790_000_000.0
SIZES: dict[Kind, int] = {"calibrate": 1, "train": 1, "solve": 1000, "stitch": 1000, "pyramid": 2}

STATUS = RunStatus(
    tiles=100,
    tiles_done=40,
    tiles_failed=3,
    blocks=100,
    blocks_done=40,
    mean_tile_seconds=30.0,
    last_finished=NOW - 5,
    live=Snapshot("tiles", 40, 100, 3, 4, 0.5, 100.0, NOW),
    running=True,
    failures=(("solve/1", "OSError: gone"), ("solve/2", "OSError: gone"), ("solve/9", "InputError: dark")),
    methods={"network": 40},
    causes=(Cause("OSError: gone", 2, ("solve/1", "solve/2")), Cause("InputError: dark", 1, ("solve/9",))),
    rate=0.5,
    workers={
        "b:1": WorkerTally(10, NOW - 5),
        "a:7": WorkerTally(20, NOW - 8),
        "a:8": WorkerTally(9, NOW - 500),
        "c:1": WorkerTally(1, NOW - 5000),
    },
    image_complete=False,
)


def tally_of(*records: TaskRecord) -> Tally:
    tally = Tally(SIZES)
    tally.note(head_of(record) for record in records)
    return tally


def solved(index: int, ago: float = 0.0, method: str = "network", host: str = "a:1") -> TaskRecord:
    return TaskRecord("solve", index, "done", seconds=2.0, host=host, finished=NOW - ago, quality={"method": method})


def failed(index: int, error: str) -> TaskRecord:
    return TaskRecord("solve", index, "failed", error=error, finished=NOW, host="a:1")


def test_of_a_tile_solved_twice_the_last_record_counts() -> None:
    again = TaskRecord("solve", 1, "invalid")
    tally = tally_of(solved(0), solved(1), again, solved(1, method="wiener"), solved(2), solved(2), solved(3), again)
    assert tally.methods() == {"network": 3}
    assert tally.mean_tile_seconds == 2.0
    assert tally_of(solved(1), again, solved(1, method="wiener")).methods() == {"wiener": 1}


def test_portions_add_up() -> None:
    records = [solved(i, 60 - i) for i in range(50)] + [failed(99, "OSError: gone")]
    whole, parts = tally_of(*records), tally_of(*records[:20])
    parts.note(head_of(record) for record in records[20:])
    assert parts.methods() == whole.methods()
    assert parts.failures.causes() == whole.failures.causes()
    assert parts.workers == whole.workers == {"a:1": WorkerTally(50, NOW)}
    assert parts.rate(NOW) == whole.rate(NOW)


def test_a_client_that_adds_up_what_it_records_finds_what_a_pass_over_its_ledger_does(tmp_path: Path) -> None:
    """So the end of a run reads the ledger for the metrics alone, once."""
    records = [replace(solved(i), device="cpu" if i % 3 else "H100", versions=i % 2) for i in range(40)]
    records += [replace(solved(7, method="a new one"), versions=1), failed(3, "OSError: gone"), failed(99, "A: x")]
    path = tmp_path / "ledger"
    client = Tally(SIZES)
    with Ledger(path) as ledger:
        for record in records:
            ledger.append(record)
            client.note([record])
    reread = read_tally([path], SIZES)
    assert summarise(client) == summarise(reread)
    assert summarise(reread).methods == {"network": 38, "other": 1}
    assert summarise(reread).seconds == {"H100": 28.0, "cpu": 52.0, "": 2.0}
    assert client.tiles_by_versions(2) == reread.tiles_by_versions(2) == [20, 20]
    assert all((client.state.status[kind] == reread.state.status[kind]).all() for kind in SIZES)


def test_failures_are_grouped_by_what_differs_in_more_than_numbers() -> None:
    tally = tally_of(
        *(failed(i, f"OSError: chunk {i} of 77") for i in range(300)),
        failed(900, "InputError: dark"),
        TaskRecord("stitch", 5, "failed", error="InputError: dark"),
    )
    first, second = tally.failures.causes()
    assert (first.text, first.count) == ("OSError: chunk 0 of 77", 300)
    assert first.first == ("solve/0", "solve/1", "solve/2", "solve/3", "solve/4")
    assert (second.count, second.first) == (2, ("solve/900", "stitch/5"))
    assert tally.failures.last()[-1] == ("stitch/5", "InputError: dark")
    tally.note(head_of(record) for record in [solved(900), *(solved(i) for i in range(299))])
    assert [(cause.count, cause.first) for cause in tally.failures.causes()] == [
        (1, ("solve/299",)),
        (1, ("stitch/5",)),
    ]
    assert [key for key, _ in tally.failures.last()] == ["solve/299", "stitch/5"]


def test_many_causes_are_counted_as_others() -> None:
    tally = tally_of(*(failed(i, f"Error{'x' * i}") for i in range(300)))
    assert sum(cause.count for cause in tally.failures.causes()) == 300
    assert tally.failures.causes()[0].text == "other causes"
    assert tally.failures.causes()[0].count == 50


def test_records_of_no_task_of_the_plan_are_passed_over() -> None:
    tally = tally_of(solved(1000), failed(-1, "OSError: gone"))
    assert tally.mean_tile_seconds is None
    assert tally.failures.causes() == ()
    assert tally.rate(NOW) is None


@pytest.mark.parametrize(
    ("ages", "rate"),
    [
        (range(0, 600, 6), 1 / 6),
        ([*range(60), 3000], 60 / 600),  # a pause before: the last ten minutes count, pause included
        ([0, 1000, 1800], 3 / 1800),  # long tiles: the last hour counts
        ([4000], None),
        (range(40), 1.0),  # just begun: since the beginning
    ],
)
def test_the_rate_is_that_of_the_last_minutes(ages: list[int], rate: float | None) -> None:
    tally = tally_of(*(solved(i, ago) for i, ago in enumerate(sorted(ages, reverse=True))))
    assert tally.rate(NOW) == (None if rate is None else pytest.approx(rate, rel=0.05))


def test_status_names_causes_and_the_way_on() -> None:
    rows = dict(describe_status(STATUS, "my.yaml"))
    assert rows["solve/1 failed"] == "OSError: gone (2 tasks: solve/1, solve/2)"
    assert rows["solve/9 failed"] == "InputError: dark"
    assert "`ssi run my.yaml --retry-failed`" in rows["next step"]
    assert "`ssi run 'my run.yaml' --retry-failed`" in dict(describe_status(STATUS, "'my run.yaml'"))["next step"]
    assert "next step" not in dict(describe_status(replace(STATUS, causes=(), failures=())))


def test_a_view_has_everything() -> None:
    rows = view_rows(STATUS, "my.yaml", NOW)
    text = "\n".join(f"{name}  {value}" for name, value in rows)
    for expected in (
        "40 done, 4 running, 3 failed, 53 pending, of 100",
        "40 of 100 written",
        "30.0 / min, 1 min 54 s left",
        "client  running (tiles)",
        "3 active, on 2 host(s)",
        "b: 1 worker(s), 10 tiles, last 5 s ago",
        "a: 2 worker(s), 29 tiles, last 8 s ago",
        "solve/9 failed  InputError: dark",
        "`ssi run my.yaml --retry-failed`",
    ):
        assert expected in text
    picture = io.StringIO()
    Console(file=picture, width=200).print(draw(STATUS, "my.yaml", NOW))
    assert all(value in picture.getvalue() for _, value in rows)
    assert "40.0 %" in picture.getvalue()
    line = plain_line(STATUS, NOW)
    assert "40 done" in line
    assert "\n" not in line


def test_a_worker_with_long_tiles_is_not_forgotten() -> None:
    assert [host.name for host in recent_hosts(STATUS, NOW)] == ["b", "a"]
    assert [host.name for host in recent_hosts(replace(STATUS, mean_tile_seconds=2000.0), NOW)] == ["b", "a", "c"]


@pytest.mark.parametrize("counts", [(0, 0, 0, 10), (999_990, 5, 1, 4), (1, 1, 1, 1), (7, 0, 0, 0), (3, 3, 3, 91)])
def test_the_bar_is_full_and_shows_every_outcome(counts: tuple[int, ...]) -> None:
    cells = bar_cells(counts, 60)
    assert sum(cells) == 60
    assert [cell > 0 for cell in cells] == [count > 0 for count in counts]


def test_a_watch_ends_with_the_image_and_the_client() -> None:
    assert not ended(STATUS)
    assert not ended(replace(STATUS, running=False))
    assert not ended(replace(STATUS, image_complete=True))
    assert ended(replace(STATUS, image_complete=True, running=False))


def test_the_seams_of_a_block_written_again_count_once(tmp_path: Path) -> None:
    """The last records count, few enough to be checked one by one."""
    path = tmp_path / "ledger"
    lines = [
        TaskRecord("stitch", 0, "done", quality={"seams": [[0, 99.0, 1.0], [1, 99.0, 1.0]]}),
        TaskRecord("stitch", 1, "done", quality={"seams": [[1, 12.0, 1.0]]}),
        TaskRecord("stitch", 0, "invalid"),
        TaskRecord("stitch", 0, "done", quality={"seams": [[0, 4.0, 1.0], [1, 0.0, 2.0]]}),
    ]
    path.write_text("".join(record.to_line() + "\n" for record in lines))
    volume = Volume("yx", (1, 1, 1, 64, 128), "uint16")
    config = parse_config(
        {
            "input": {"path": "a"},
            "output": {"path": "b"},
            "psf": {"kind": "identity"},
            "solver": "identity",
            "tiling": {"dimensions": 2, "core": 64, "blend": 4},
        }
    )
    plan = make_plan(volume, tiling_request(config, (0, 0, 0)), 2**34)
    assert (plan.n_tiles, plan.n_blocks) == (2, 2)
    metrics = TileMetrics(plan)
    for record in read_records(path):
        metrics.note(record)
    assert not metrics.is_final
    metrics.add_seams_again(read_records(path))
    assert metrics.on_grid([1.0])["seam"].ravel().tolist() == [2.0, 2.0]
