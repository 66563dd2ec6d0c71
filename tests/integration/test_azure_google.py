"""Images in Azure's and Google's stores, read, written, killed and resumed as in S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zarr
from builders import beads, complete, config_of, contents, go, hashes, make_run, records
from cloud_servers import KEY, TOKEN, Cloud, cloud_server, needs_azurite, needs_fake_gcs, upload_to_google
from s3_server import needs_s3

from ssi_pipeline.cli import main
from ssi_pipeline.config.storage import StorageConfig
from ssi_pipeline.config.url import parse_url
from ssi_pipeline.storage.object_errors import StoreDenied
from ssi_pipeline.storage.object_store import ObjectStore
from ssi_pipeline.storage.store import store_of

IMAGE = beads((1, 280, 32))
PLAIN: dict[str, Any] = {"solver": "wiener", "tiling": {"core": {"y": 64, "x": 32}}}

CLOUDS = [pytest.param("azure", marks=needs_azurite), pytest.param("google", marks=[needs_s3, pytest.mark.long])]

_numbers = count()


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Cloud:
    found: Cloud = request.getfixturevalue(request.param)
    return found


def folder_in(cloud: Cloud) -> str:
    return f"{cloud.root}/case-{next(_numbers)}"


def store_at(cloud: Cloud, url: str) -> ObjectStore:
    found = store_of(parse_url(url, StorageConfig(endpoint=cloud.endpoint)))
    assert isinstance(found, ObjectStore)
    return found


def objects(cloud: Cloud, url: str) -> dict[str, bytes]:
    store = store_at(cloud, url)
    return {entry.key: store.read(entry.key) for entry in store.list()}


def levels(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if name[0].isdigit() and content != b"<folder>"}


def on_disk(folder: Path, **sections: Any) -> dict[str, bytes]:
    return levels(contents(complete(make_run(folder, IMAGE, **{**PLAIN, **sections}))))


def by_url(folder: Path, cloud: Cloud, **sections: Any) -> tuple[Path, str]:
    """Return a configuration, and the URL of its output; the input is in the same folder of the store."""
    there = folder_in(cloud)
    source = store_at(cloud, f"{there}/in.zarr")
    make_run(folder, IMAGE)
    for name, content in contents(folder / "in.zarr").items():
        if content != b"<folder>":
            source.write(name, content)
    places = {"input": {"path": f"{there}/in.zarr"}, "output": {"path": f"{there}/out.zarr", "state": "out.run"}}
    storage = {"endpoint": cloud.endpoint, "retries": 3}
    return make_run(folder, None, **{**PLAIN, **places, "storage": storage, **sections}), f"{there}/out.zarr"


@pytest.mark.parametrize("cloud", CLOUDS, indirect=True)
def test_input_and_output_in_a_store_are_those_on_a_disk(
    tmp_path: Path, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes; blocks known by their ETags; one that was lost is written again; no secret in any file."""
    config, url = by_url(tmp_path / "here", cloud)
    assert main(["plan", str(config)]) == 0
    assert main(["run", str(config)]) == 0
    found = objects(cloud, url)
    assert levels(found) == on_disk(tmp_path / "there")
    written = contents(tmp_path / "here" / "out.run")
    assert [
        name
        for name, content in {**found, **written}.items()
        if any(secret.encode() in content for secret in (KEY, TOKEN))
    ] == []
    before = records(config, "stitch")
    assert all(record.etags for record in before)
    assert go(config).computed_tiles == 0
    assert records(config, "stitch") == before  # the list has the ETags of the writes: no block was read back
    store_at(cloud, url).delete("0/c/0/1/0")
    assert main(["verify", str(config)]) == 1
    assert go(config).complete
    assert objects(cloud, url)["0/c/0/1/0"] == found["0/c/0/1/0"]
    capsys.readouterr()
    assert main(["status", str(config)]) == 0
    assert "all blocks are written" in capsys.readouterr().out


@needs_azurite
def test_the_environment_says_where_and_who(
    tmp_path: Path, azure: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = by_url(tmp_path, azure)
    url = str(config_of(config).input.path)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azure.endpoint)
    assert main(["info", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [1, 1, *IMAGE.shape]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    other = StorageConfig(endpoint=azure.endpoint, retries=1)  # clients are kept by what is configured
    with pytest.raises(StoreDenied, match="check the credentials in the environment"):
        store_of(parse_url(url, other)).read("zarr.json")


@pytest.mark.long
@pytest.mark.parametrize("cloud", CLOUDS, indirect=True)
@pytest.mark.parametrize("kills", [1, 4])
def test_killed_with_its_workers_and_resumed(tmp_path: Path, cloud: Cloud, kills: int) -> None:
    """Two dask workers and blended tiles, SIGKILL of all after some tiles, the same command again."""
    sections: dict[str, Any] = {"tiling": {**PLAIN["tiling"], "blend": 8}}
    dask = {"kind": "dask", "workers": 2, "memory_gib": 1, "device": "cpu"}
    config, url = by_url(tmp_path / "here", cloud, executor=dask, **sections)
    command = [sys.executable, "-m", "ssi_pipeline", "run", str(config)]
    ledger = tmp_path / "here" / "out.run" / "ledger.jsonl"
    for _ in range(kills):
        wanted = (len(ledger.read_bytes().splitlines()) if ledger.exists() else 0) + 2
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    time.sleep(0.02)
                    if ledger.exists() and len(ledger.read_bytes().splitlines()) >= wanted:
                        break
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    assert subprocess.run(command, check=False).returncode == 0
    assert levels(objects(cloud, url)) == on_disk(tmp_path / "there", **sections)
    assert main(["verify", str(config)]) == 0


@needs_fake_gcs
def test_an_input_in_google_s_store_is_that_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reads of objects and of parts of them, lists, and what the environment says; no secret in any file."""
    sections: dict[str, Any] = {**PLAIN, "tiling": {"core": 48}}
    image, folder = beads((2, 96, 96)), tmp_path / "in.zarr"
    zarr.create_array(folder, data=image, shards=(1, 96, 96), chunks=(1, 16, 16), dimension_names=tuple("zyx"))
    expected = hashes(complete(make_run(tmp_path / "there", None, input={"path": str(folder)}, **sections)))
    with cloud_server("google") as google:
        url = f"{google.root}/in.zarr"
        for name, content in contents(folder).items():
            if content != b"<folder>":
                upload_to_google(google, f"in.zarr/{name}", content)
        storage = {"endpoint": google.endpoint, "retries": 1}
        config = make_run(tmp_path / "here", None, input={"path": url}, storage=storage, **sections)
        assert main(["plan", str(config)]) == 0
        output = complete(config)
        assert hashes(output) == expected
        assert go(config).computed_tiles == 0
        written = {**contents(output), **contents(config_of(config).state_path)}
        assert [name for name, content in written.items() if TOKEN.encode() in content] == []
        monkeypatch.setenv("GOOGLE_BASE_URL", google.endpoint)
        capsys.readouterr()
        assert main(["info", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["shape"] == [1, 1, *image.shape]
        with pytest.raises(FileNotFoundError):
            store_at(google, url).read("none")
