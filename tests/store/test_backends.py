"""Opening a store by its URL, and the door that it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagerepo.config import Config
from imagerepo.errors import ConfigError
from imagerepo.store import names
from imagerepo.store.backends import open_memory, open_store


@pytest.mark.parametrize("folder", ["store", "with space", "größe"])
def test_a_file_url_is_a_folder(tmp_path: Path, folder: str) -> None:
    store = open_store((tmp_path / folder).as_uri(), config=Config())
    assert store.create_exclusive("epochs/1")
    assert (tmp_path / folder / "epochs" / "1").exists()
    assert store.properties.scheme == "file"


def test_memory_is_empty_each_time() -> None:
    for _ in range(2):
        assert open_memory().create_exclusive("epochs/1")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/photos",
        "file://photos",
        "s3://photos",
        "swift://",
        "swift://a/b?c=d",
        "swift://a--b",
        "swift://a/../b",
    ],
)
def test_a_url_that_names_no_store_is_a_wrong_setting(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"ST_AUTH": "http://127.0.0.1:9", "ST_USER": "me", "ST_KEY": "mine"}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError):
        open_store(url, config=Config())


def test_a_swift_store_without_credentials_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ST_AUTH", "OS_AUTH_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match="ST_AUTH"):
        open_store("swift://photos", config=Config())


def test_every_call_passes_failpoints_named_after_it(tmp_path: Path) -> None:
    """In a process of its own: failpoints are armed by the environment, once."""
    writer = "0" * 16
    base, part = names.base("ab" * 32), names.part(1, writer, "cd" * 32)
    put = [base, names.owner(1), names.record(1, writer, 0), names.manifest(1, writer, 0), part]
    script = f"""
import io
from imagerepo.config import Config
from imagerepo.store import names
from imagerepo.store.backends import open_store
from imagerepo.testing import failpoints

store = open_store("{(tmp_path / "store").as_uri()}", config=Config())
with failpoints.step("commit.upload"):
    for name in {put}:
        store.put(name, io.BytesIO(b"x"), media_type="image/png")
store.get("{base}").close()
store.stat("{names.owner(1)}")
store.create_exclusive("epochs/1")
list(store.list("db/"))
store.delete(["{base}"])
"""
    trace = tmp_path / "trace"
    subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"IMAGEREPO_FAILPOINT_TRACE": str(trace)}, check=True
    )
    passed = [line.partition(" ")[2] for line in trace.read_text().splitlines()]
    befores = [line.removesuffix("/before") for line in passed if line.endswith("/before")]
    assert befores == [
        "commit.upload/store.put images",
        "commit.upload/store.put db/owner",
        "commit.upload/store.put db/record",
        "commit.upload/store.put db/manifest",
        "commit.upload/store.put db/part",
        "-/store.get images",
        "-/store.stat db/owner",
        "-/store.create_exclusive epochs",
        "-/store.list db",
        "-/store.delete images",
    ]
    assert [line.removesuffix("/after") for line in passed if line.endswith("/after")] == befores
