"""Receiving uploads on the local disk."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import SpoolFull, TooLarge, TruncatedBody
from imagerepo.store.spool import Spool

MIB = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@given(chunks=st.lists(st.binary(max_size=100)))
def test_an_upload_is_stored_and_hashed_whatever_its_chunks(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    whole = b"".join(chunks)
    spooled = Spool(tmp_path_factory.mktemp("spool")).receive(chunks, limit=MIB, length=None)
    assert spooled.path.read_bytes() == whole
    assert spooled.ident == hashlib.sha256(whole).hexdigest()
    assert spooled.md5 == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert spooled.size == len(whole)


def test_a_reader_is_never_asked_for_more_than_was_announced(spool: Spool) -> None:
    body = io.BytesIO(b"image" + b"the next request")
    assert spool.receive(body, limit=MIB, length=5).path.read_bytes() == b"image"
    assert body.read() == b"the next request"


def test_reading_stops_as_soon_as_the_limit_is_passed(spool: Spool, tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(100)

    with pytest.raises(TooLarge):
        spool.receive(endless(), limit=1000, length=None)
    assert taken == 11
    assert files(tmp_path) == []


def test_what_is_announced_too_large_is_not_read_at_all(spool: Spool) -> None:
    body = io.BytesIO(bytes(2000))
    with pytest.raises(TooLarge):
        spool.receive(body, limit=1000, length=2000)
    assert body.tell() == 0


def test_an_upload_of_exactly_the_limit_is_taken(spool: Spool) -> None:
    assert spool.receive([bytes(1000)], limit=1000, length=1000).size == 1000


@pytest.mark.parametrize("body", [b"", b"1234", b"123456"])
def test_a_body_of_another_length_than_announced_is_refused(spool: Spool, tmp_path: Path, body: bytes) -> None:
    with pytest.raises(TruncatedBody):
        spool.receive([body], limit=MIB, length=5)
    assert files(tmp_path) == []


def test_a_sender_that_goes_away_leaves_no_file(spool: Spool, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(100)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        spool.receive(broken(), limit=MIB, length=None)
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_as_such_and_leaves_no_file(
    spool: Spool, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def on_a_full_disk(fd: int, data: bytes) -> int:
        if len(data) > 100:
            raise OSError(number, os.strerror(number))
        return write(fd, data)

    monkeypatch.setattr(os, "write", on_a_full_disk)
    with pytest.raises(SpoolFull):
        spool.receive([bytes(100), bytes(101)], limit=MIB, length=None)
    assert files(tmp_path) == []


def test_other_failures_of_the_disk_are_not_called_full(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(OSError, match="broken"):
        spool.receive([b"x"], limit=MIB, length=None)


def test_a_disk_that_takes_half_of_each_chunk_gets_it_all(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: (len(data) + 1) // 2]))
    assert spool.receive([b"0123456789" * 100], limit=MIB, length=None).path.read_bytes() == b"0123456789" * 100


def test_a_writer_takes_pushed_chunks_and_may_be_aborted_at_any_time(spool: Spool, tmp_path: Path) -> None:
    writer = spool.open_writer(limit=MIB)
    writer.write(b"half")
    writer.abort()
    writer.abort()
    assert files(tmp_path) == []

    with spool.open_writer(limit=MIB) as writer:
        writer.write(b"whole")
        spooled = writer.finish()
    writer.abort()
    assert spooled.path.read_bytes() == b"whole"


def test_uploads_can_be_read_by_their_owner_alone(spool: Spool, tmp_path: Path) -> None:
    kept = spool.keep(spool.receive([b"x"], limit=MIB, length=None), "session")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_kept_upload_is_found_by_session_and_ident_until_it_is_dropped(spool: Spool, tmp_path: Path) -> None:
    spooled = spool.receive([b"image"], limit=MIB, length=None)
    kept = spool.keep(spooled, "session-1")
    assert kept == spool.path("session-1", spooled.ident)
    spooled.discard()
    assert kept.read_bytes() == b"image"

    spool.drop("session-1", spooled.ident)
    spool.drop("session-1", spooled.ident)
    assert files(tmp_path) == []


def test_keeping_the_same_bytes_twice_keeps_them_once(spool: Spool, tmp_path: Path) -> None:
    for _ in range(2):
        spool.keep(spool.receive([b"same"], limit=MIB, length=None), "session")
    assert len(files(tmp_path)) == 1


def test_a_kept_upload_survives_a_power_cut(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def recording(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", recording)
    spooled = spool.receive([b"image"], limit=MIB, length=None)
    kept = spool.keep(spooled, "session")
    assert synced[0] == spooled.path, "the bytes, before they get their name"
    assert {kept.parent, kept.parent.parent} <= set(synced[1:]), "the name, and the session's folder"


def test_dropping_a_session_leaves_the_others(spool: Spool) -> None:
    kept = [spool.keep(spool.receive([b"x"], limit=MIB, length=None), key) for key in ("one", "two")]
    spool.drop_session("one")
    spool.drop_session("one")
    assert [path.exists() for path in kept] == [False, True]


def test_clearing_leaves_only_what_the_named_sessions_kept(spool: Spool, tmp_path: Path) -> None:
    kept = [spool.keep(spool.receive([b"x"], limit=MIB, length=None), key) for key in ("one", "two")]
    spool.receive([b"left over"], limit=MIB, length=None)
    spool.clear({"two"})
    assert files(tmp_path) == [kept[1]]
    spool.receive([b"works as before"], limit=MIB, length=None)


@pytest.mark.parametrize("key", ["", "..", "a/b", ".incoming", "a\0", "/etc"])
def test_no_session_key_leads_out_of_the_spool(spool: Spool, key: str) -> None:
    with pytest.raises(ValueError, match="no session key"):
        spool.path(key, "0" * 64)


RECEIVE_64_MIB = """
import resource, sys
from pathlib import Path
from imagerepo.store.spool import Spool
spool = Spool(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spool.receive(open("/dev/zero", "rb"), limit=64 << 20, length=64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_an_upload_is_never_held_in_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RECEIVE_64_MIB, str(tmp_path)], capture_output=True, check=True
    )
    assert int(done.stdout) < 8 * 1024, "KiB more than before"
