"""Inputs by URL: the same output to the byte, nothing secret in any file, and faults of a store that end in order."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import zarr
from builders import beads, complete, config_of, go, hashes, make_run, records
from s3_server import KEYS, S3, PatientServer, needs_s3

from ssi_pipeline.cli import main
from ssi_pipeline.config.url import parse_url
from ssi_pipeline.errors import (
    ConfigError,
    CorruptDataError,
    InputError,
    MissingPackageError,
    RunChangedError,
    StoreError,
)
from ssi_pipeline.geometry import Box
from ssi_pipeline.storage.inputs.identity import identity
from ssi_pipeline.storage.inputs.input_stamp import input_stamp
from ssi_pipeline.storage.inputs.source import clear_sources, open_source
from ssi_pipeline.storage.inputs.source_protocol import SourceSpec
from ssi_pipeline.storage.store import store_of

pytestmark = needs_s3

IMAGE = beads((2, 96, 96))
TILES = {"core": 48}
SHARDS = {"shards": (1, 96, 96), "chunks": (1, 16, 16)}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    clear_sources()


def storage(s3: S3, **more: Any) -> dict[str, Any]:
    return {"endpoint": s3.endpoint, "retries": 3, **more}


def upload(s3: S3, folder: Path, name: str) -> str:
    """Copy a folder to the bucket; returns its URL."""
    url = f"s3://tests/{name}"
    store = store_of(config_url(url, s3))
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        store.write(file.relative_to(folder).as_posix(), file.read_bytes())
    return url


def config_url(url: str, s3: S3) -> Any:
    from ssi_pipeline.config.storage import StorageConfig

    return parse_url(url, StorageConfig(**storage(s3)))


def ome_zarr(folder: Path, version: int, image: Any = IMAGE) -> Path:
    """Write an OME-Zarr image, 0.5 with shards or 0.4."""
    group = zarr.create_group(folder, zarr_format=version)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [0.5, 0.2, 0.2]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}], "version": "0.4"}]
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": multiscales}} if version == 3 else {"multiscales": multiscales}
    )
    layout = SHARDS if version == 3 else {"chunks": (1, 32, 32), "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    group.create_array("0", shape=image.shape, dtype=image.dtype, **layout)[...] = image
    return folder


_there: dict[str, dict[str, str]] = {}
"""Digests of outputs of runs on a file system, each made once."""


def made(tmp_path: Path, s3: S3, name: str, version: int = 3, **sections: Any) -> tuple[Path, dict[str, str]]:
    """Return the configuration of a run by URL, and the digests of the output of the same run on a file system."""
    folder = ome_zarr(tmp_path / "in.zarr", version)
    url = upload(s3, folder, name)
    sections.setdefault("tiling", TILES)
    plain = {name: values for name, values in sections.items() if name not in ("executor", "storage")}
    key = json.dumps([version, plain], sort_keys=True)
    if key not in _there:
        _there[key] = hashes(complete(make_run(tmp_path / "there", None, input={"path": str(folder)}, **plain)))
    there = _there[key]
    sections["storage"] = storage(s3, **sections.get("storage", {}))
    config = make_run(tmp_path / "here", None, input={"path": url}, **sections)
    return config, there


@pytest.mark.parametrize("version", [pytest.param(2, marks=pytest.mark.long), 3])  # 2: also on a web server
def test_an_input_in_s3_gives_the_same_bytes_and_tells_no_secret(tmp_path: Path, s3: S3, version: int) -> None:
    config, there = made(tmp_path, s3, f"v{version}.zarr", version, solver={2: "identity", 3: "wiener"}[version])
    assert main(["plan", str(config)]) == 0
    assert main(["run", str(config)]) == 0
    assert hashes(tmp_path / "here" / "out.zarr") == there
    assert main(["verify", "--input", str(config)]) == 0
    written = [p for p in (tmp_path / "here").rglob("*") if p.is_file()]
    for secret in KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]:
        assert [str(p) for p in written if secret.encode() in p.read_bytes()] == []
    attributes = json.loads((tmp_path / "here" / "out.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes["ssi_pipeline"]["provenance"]["input_path"] == f"s3://tests/v{version}.zarr"
    assert "storage" not in attributes["ssi_pipeline"]["provenance"]["basis"]["config"]
    assert go(config).computed_tiles == 0


def test_a_run_goes_on_with_a_copy_elsewhere(tmp_path: Path, s3: S3) -> None:
    """Where an image is, is not what it is: the copy on disk and the one in the store are one input."""
    config, _ = made(tmp_path, s3, "copy.zarr")
    complete(config)
    path = make_run(tmp_path / "here", None, input={"path": str(tmp_path / "in.zarr")}, tiling=TILES)
    assert go(path).computed_tiles == 0


def test_what_is_in_a_store_is_told(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = upload(s3, ome_zarr(tmp_path / "in.zarr", 3), "info.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert main(["info", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["shape"], found["chunk"]) == (url, [1, 1, 2, 96, 96], [1, 16, 16])
    assert found["voxel_size_um"] == {"z": 0.5, "y": 0.2, "x": 0.2}
    assert found["notes"] == []
    assert main(["init", str(tmp_path / "new.yaml"), "--input", url, "--psf", "identity"]) == 0
    assert config_of(tmp_path / "new.yaml").input.path == parse_url(url)


def test_chunks_of_a_shard_are_two_requests(tmp_path: Path, s3: S3) -> None:
    url = upload(s3, ome_zarr(tmp_path / "in.zarr", 3), "ranges.zarr")
    source = open_source(SourceSpec(config_url(url, s3)))
    s3.forget()
    found = source.read(0, 0, Box((0, 8, 8), (1, 60, 60)))
    assert np.array_equal(found, IMAGE[:1, 8:60, 8:60])
    assert len(s3.requests) == 2  # the index, and 16 chunks
    s3.forget()
    assert np.array_equal(source.read(0, 0, Box((0, 0, 0), (2, 96, 96))), IMAGE)
    assert len(s3.requests) == 2  # two whole shards


def test_absent_and_empty_chunks(tmp_path: Path, s3: S3) -> None:
    url = upload(s3, ome_zarr(tmp_path / "in.zarr", 2), "absent.zarr")
    place = config_url(url, s3)
    store_of(place).delete("0/1/0/0")
    assert "1 of 18 chunk files are missing" in open_source(SourceSpec(place)).notes[0]
    clear_sources()
    store_of(place).write("0/0/0/0", b"")
    assert identity(SourceSpec(place))["content"][0] == "unreadable"
    for key in [entry.key for entry in store_of(place).list("0") if not entry.key.endswith(".zarray")]:
        store_of(place).delete(key)
    clear_sources()
    with pytest.raises(InputError, match="no chunk file has a name given by the metadata"):
        open_source(SourceSpec(place))


@pytest.mark.parametrize("left", [0, 300, *(pytest.param(n, marks=pytest.mark.long) for n in (7, 3000))])
def test_a_truncated_shard_fails_its_tiles_and_is_no_silent_store(tmp_path: Path, s3: S3, left: int) -> None:
    url = upload(s3, ome_zarr(tmp_path / "in.zarr", 3), f"short-{left}.zarr")
    place = config_url(url, s3)
    source = open_source(SourceSpec(place))
    whole = store_of(place).read("0/c/0/0/0")
    store_of(place).write("0/c/0/0/0", whole[:left])
    for box in (Box((0, 8, 8), (1, 60, 60)), Box((0, 0, 0), (1, 96, 96))):
        with pytest.raises(CorruptDataError, match="c/0/0/0"):
            source.read(0, 0, box)
    assert np.array_equal(source.read(0, 0, Box((1, 0, 0), (2, 9, 9))), IMAGE[1:, :9, :9])
    clear_sources()
    source = open_source(SourceSpec(place))
    store_of(place).write("0/c/0/0/0", whole[-600:])  # the index is there, what it states is not
    with pytest.raises(CorruptDataError, match="c/0/0/0"):
        source.read(0, 0, Box((0, 8, 8), (1, 90, 90)))


def test_what_is_no_image_is_refused_with_what_to_do(tmp_path: Path, s3: S3) -> None:
    for url, said in (
        ("s3://tests/none.zarr", "has no zarr metadata"),
        ("s3://tests/a.ome.tif", "is a TIFF file.*convert it to OME-Zarr"),
        ("s3://tests/none.zarr/zarr.json", "is a zarr metadata file: give its folder"),
    ):
        with pytest.raises(InputError, match=said):
            open_source(SourceSpec(config_url(url, s3)))
    for sections, said in (
        ({"output": {"state": "s3://tests/state"}}, r"output.state is 's3://tests/state', a URL: expected the path"),
        ({"input": {"path": "ftp://host/a.zarr"}}, "a URL that is not supported: expected s3://"),
        ({"output": {"path": "s3:/bucket/a.zarr"}}, "a URL that is not supported: expected s3://"),
        ({"storage": {"endpoint": "https://me:word@host"}}, "storage.endpoint: expected a URL without user"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_of(make_run(tmp_path, None, **sections))


def test_without_obstore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingPackageError, match=r"reading URLs needs obstore: pip install obstore"):
        open_source(SourceSpec(parse_url("s3://never-opened/a.zarr")))


def test_a_changed_object_is_noticed(tmp_path: Path, s3: S3) -> None:
    config, _ = made(tmp_path, s3, "changed.zarr")
    complete(config)
    place = config_url("s3://tests/changed.zarr", s3)
    store_of(place).write("0/c/0/0/0", store_of(place).read("0/c/1/0/0"))
    clear_sources()
    with pytest.raises(RunChangedError, match="input"):
        go(config)


def test_503s_and_slow_answers_change_nothing(tmp_path: Path, s3: S3) -> None:
    config, there = made(tmp_path, s3, "flaky.zarr")
    chance = np.random.default_rng(0)
    s3.fault = lambda method, path, n: 503 if chance.random() < 0.15 else 0.2 if chance.random() < 0.05 else None
    complete(config)
    assert hashes(tmp_path / "here" / "out.zarr") == there


def test_expired_credentials_stop_the_run_and_it_resumes(
    tmp_path: Path, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    config, there = made(tmp_path, s3, "expired.zarr")
    s3.fault = lambda method, path, n: 403 if solved(tmp_path) else None
    assert main(["run", str(config)]) == 3
    said = capsys.readouterr().err
    assert "access denied" in said
    assert "check the credentials in the environment" in said
    assert any(record.status == "done" for record in records(config, "solve"))
    s3.forget()
    assert main(["run", str(config)]) == 0
    assert hashes(tmp_path / "here" / "out.zarr") == there


def test_a_restart_of_the_server_in_mid_run(tmp_path: Path, s3: S3) -> None:
    """The run waits for the server, as for a lost mount, and goes on by itself."""
    config, there = made(tmp_path, s3, "down.zarr", storage={"retries": 0})
    killed: list[Thread] = []
    restored = Event()

    def restart() -> None:
        """Start it again; it has kept nothing, so that its data are restored at once, before anything is read."""
        s3.process.wait()
        s3.start()
        upload(s3, tmp_path / "in.zarr", "down.zarr")
        restored.set()

    def fault(method: str, path: str, n: int) -> int | None:
        if not killed and solved(tmp_path):
            s3.process.kill()
            killed.append(Thread(target=restart))
            killed[0].start()
        return 503 if killed and not restored.is_set() and method in ("GET", "HEAD") else None

    s3.fault = fault
    assert main(["run", str(config)]) == 0
    killed[0].join()
    assert hashes(tmp_path / "here" / "out.zarr") == there
    assert "the store does not answer" in (tmp_path / "here" / "out.zarr.run" / "run.log").read_text()


def log_of(config: Path) -> str:
    return (config.parent / "out.zarr.run" / "run.log").read_text()


def test_a_bucket_that_is_lost_in_mid_run_is_no_fill_value(tmp_path: Path, s3: S3) -> None:
    url = upload(s3, ome_zarr(tmp_path / "in.zarr", 3), "lost.zarr")
    place, box = config_url(url, s3), Box((0, 0, 0), (1, 48, 48))
    source, before = open_source(SourceSpec(place)), input_stamp(open_source(SourceSpec(place)))
    store_of(place).delete("0/c/0/0/0")
    assert not source.read(0, 0, box).any()  # zarr's rule for one chunk
    store_of(place).delete("0/zarr.json")
    with pytest.raises(StoreError, match="has no zarr metadata any more"):
        source.read(0, 0, box)
    time.sleep(1.1)  # times in S3 are whole seconds
    upload(s3, tmp_path / "in.zarr", "lost.zarr")
    assert np.array_equal(source.read(0, 0, box), IMAGE[:1, :48, :48])
    assert input_stamp(source) != before  # the same ETags: what was read in between is compared at the end


def solved(folder: Path) -> bool:
    """Return whether a tile of the run is recorded."""
    ledger = folder / "here" / "out.zarr.run" / "ledger.jsonl"
    return ledger.exists() and b'"solve"' in ledger.read_bytes()


@pytest.mark.long
def test_killed_with_its_workers_and_resumed(tmp_path: Path, s3: S3) -> None:
    """Two dask workers, SIGKILL of all after the first tiles, the same command again."""
    dask = {"kind": "dask", "workers": 2, "memory_gib": 1, "device": "cpu"}
    config, there = made(tmp_path, s3, "killed.zarr", executor=dask, solver="wiener")
    command = [sys.executable, "-m", "ssi_pipeline", "run", str(config)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None and not solved(tmp_path):
                time.sleep(0.02)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert subprocess.run(command, check=False).returncode == 0
    assert hashes(tmp_path / "here" / "out.zarr") == there


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


class Untold(Quiet):
    """A server that does not tell when a file was changed, and answers with a page for what it does not have."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def send_error(self, *_: Any, **__: Any) -> None:
        page = b"<!doctype html><title>welcome</title>"
        found = 200 if "in.zarr" not in self.path else 404
        self.send_response(found)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)


@pytest.mark.parametrize("handler", [Quiet, pytest.param(Untold, marks=pytest.mark.long)])
def test_an_input_on_a_web_server(tmp_path: Path, handler: type[Quiet]) -> None:
    """A server without ranges and lists, as python -m http.server."""
    folder = ome_zarr(tmp_path / "web" / "in.zarr", 2)
    there = hashes(complete(make_run(tmp_path / "there", None, input={"path": str(folder)}, tiling=TILES)))
    server = PatientServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path / "web")))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/in.zarr"
        config = make_run(tmp_path / "here", None, input={"path": url}, tiling=TILES)
        complete(config)
        assert hashes(tmp_path / "here" / "out.zarr") == there
        assert go(config).computed_tiles == 0
        again = "pixels of all 8 solved tiles were read again" in log_of(config)
        assert again == (handler is Untold)
    finally:
        server.shutdown()
        server.server_close()
