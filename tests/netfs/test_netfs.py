"""Runs on real network file systems between simulated hosts.

The short ones are part of every test run where they can be; all of them with SSI_NETFS=1, and as a table by
`python benchmarks/netfs.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _netfs import MooseFs, Served, Sshfs, served, why_not
from _netfs_faults import FAULTS, Bench, Case, meet, two_states_stale, write_template

KINDS: tuple[type[Served], ...] = (MooseFs, Sshfs)
SHORT = {(Sshfs, two_states_stale)}
"""An effect that a local disk does not show."""
ALL = "set SSI_NETFS=1 for all faults (ten minutes)"

pytestmark = [pytest.mark.netfs, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    kind: type[Served] = request.param
    if (reason := why_not(kind)) is not None:
        pytest.skip(f"{kind.name}: {reason}")
    if kind not in {short for short, _ in SHORT} and "SSI_NETFS" not in os.environ:
        pytest.skip(ALL)
    folder = tmp_path_factory.mktemp("netfs")
    expected = write_template(folder / "template", 4)
    with served(kind, folder) as system:
        yield Bench(system, folder, expected, tiles=16, stale=12, cut_s=8)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: str(fault.__name__))
def test_fault(bench: Bench, fault: object, request: pytest.FixtureRequest) -> None:
    kind = type(bench.system)
    if (kind, fault) not in SHORT and "SSI_NETFS" not in os.environ:
        pytest.skip(ALL)
    case: Case = meet(bench, fault)  # type: ignore[arg-type]
    assert case.wrong == [], case.ends


def test_nothing_is_left(tmp_path: Path) -> None:
    """Hosts end with the process that started them, mounts and networks with the hosts."""
    if (reason := why_not(Sshfs)) is not None:
        pytest.skip(reason)
    with served(Sshfs, tmp_path) as system:
        pids = [host.pid for host in (system.server, *system.clients)]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(system.mount_point.iterdir()) == []
