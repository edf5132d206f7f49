"""What only the folder does: nothing half, nothing that a power cut takes back, nothing left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from imagerepo.errors import InDoubt, ObjectNotFound, StoreRefused, StoreUnavailable
from imagerepo.store import local, names
from imagerepo.store.local import LocalStore

BASE = names.base("ab" * 32)
OTHER = names.base("cd" * 32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root)


def put(store: LocalStore, name: str = BASE, content: bytes = b"content") -> None:
    store.put(name, io.BytesIO(content), media_type="image/png")


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_objects_lie_where_format_says(root: Path, store: LocalStore) -> None:
    writer = "0" * 16
    for name in (BASE, names.owner(1), names.record(1, writer, 0)):
        put(store, name)
    store.create_exclusive("epochs/1")
    assert files_in(root) == {
        f"images/ab/{'ab' * 32}",
        "db/1/owner",
        f"db/1-{writer}/0",
        "epochs/1",
    }


def test_another_process_sees_the_same_store(root: Path, store: LocalStore) -> None:
    put(store)
    store.create_exclusive("epochs/1")
    other = LocalStore(root)
    assert [info.name for info in other.list("")] == [BASE]
    assert other.create_exclusive("epochs/1") is False


def test_a_writer_killed_in_the_middle_leaves_nothing_that_is_seen(root: Path, store: LocalStore) -> None:
    script = """
        import io, sys
        from pathlib import Path
        from imagerepo.store.local import LocalStore

        class Endless(io.RawIOBase):
            def read(self, size=-1):
                sys.stdout.write("x")
                sys.stdout.flush()
                return bytes(size)

        LocalStore(Path(sys.argv[1])).put(sys.argv[2], Endless(), media_type="image/png")
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(root), BASE]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.read(3) == b"xxx"
        writer.send_signal(signal.SIGKILL)
    assert len(files_in(root)) == 1
    assert list(store.list("")) == []
    with pytest.raises(ObjectNotFound):
        store.stat(BASE)


def test_what_a_dead_writer_left_goes_after_a_day(root: Path, store: LocalStore) -> None:
    old, fresh = (root / "incoming" / name for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    yesterday = time.time() - local.ABANDONED_SECONDS - 60
    os.utime(old, (yesterday, yesterday))
    LocalStore(root)
    assert not old.exists()
    assert fresh.exists()


def test_a_refused_body_leaves_no_file(root: Path, store: LocalStore) -> None:
    with pytest.raises(StoreRefused):
        store.put(BASE, io.BytesIO(b"content"), media_type="image/png", md5="0" * 32)
    assert files_in(root) == set()


class Disk:
    """Watches what is synced, in order, and may fail at one path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.fails_at = ""
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if self.fails_at and path.endswith(self.fails_at):
            raise OSError(5, "Input/output error")
        self.synced.append(path)
        self._sync(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_file_and_every_folder_on_the_way_are_synced(tmp_path: Path, root: Path, disk: Disk) -> None:
    put(LocalStore(root))
    assert disk.synced[0] == str(tmp_path)  # where deep/ came into being
    assert disk.synced[1] == str(tmp_path / "deep")
    before, file, *after = disk.synced[2:]
    assert before == str(root)  # incoming/
    assert file.startswith(str(root / "incoming"))
    assert after == [str(root), str(root / "images"), str(root / "images" / "ab")]


def test_a_folder_that_another_process_made_is_synced_once_more(root: Path, disk: Disk) -> None:
    put(LocalStore(root))
    disk.synced.clear()
    put(LocalStore(root))
    assert str(root / "images") in disk.synced


def test_deletions_and_claims_are_synced_by_winner_and_loser(root: Path, store: LocalStore, disk: Disk) -> None:
    put(store)
    for act in (
        lambda: store.delete([BASE]),
        lambda: store.create_exclusive("epochs/1"),
        lambda: store.create_exclusive("epochs/1"),
    ):
        disk.synced.clear()
        act()
        assert disk.synced[-1] in (str(root / "images" / "ab"), str(root / "epochs"))


def test_a_disk_that_fails_before_the_object_is_seen_leaves_nothing(
    root: Path, store: LocalStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.uuid, "uuid4", lambda: uuid.UUID(int=7))
    disk.fails_at = uuid.UUID(int=7).hex
    with pytest.raises(StoreUnavailable):
        put(store)
    assert files_in(root) == set()


def test_a_change_that_may_not_last_is_in_doubt(store: LocalStore, disk: Disk) -> None:
    put(store)
    disk.fails_at = "/images/ab"
    with pytest.raises(InDoubt) as error:
        put(store, content=b"other")
    assert (error.value.op, error.value.name) == ("put", BASE)
    with pytest.raises(InDoubt):
        store.delete([BASE])


def test_what_is_shown_as_newest_lasts(root: Path, store: LocalStore, disk: Disk) -> None:
    put(store)
    other = LocalStore(root)  # whose writer may see the name before the first has synced its folder
    disk.synced.clear()
    other.stat(BASE, newest=True)
    other.get(BASE, newest=True).close()
    assert disk.synced == [str(root / "images/ab")] * 2


def test_a_name_that_may_not_last_is_made_anew_before_it_is_shown_as_newest(
    root: Path, store: LocalStore, disk: Disk
) -> None:
    disk.fails_at = "/images/ab"
    with pytest.raises(InDoubt):
        put(store, content=b"ours")
    with pytest.raises(InDoubt):
        store.stat(BASE, newest=True)
    disk.fails_at = ""
    disk.synced.clear()
    with store.get(BASE, newest=True) as reader:
        assert reader.read() == b"ours"
    written, folder = disk.synced  # a later sync alone could succeed without having written anything
    assert written.startswith(str(root / "incoming")) and folder == str(root / "images/ab")


def test_a_claim_that_may_not_last_is_in_doubt(store: LocalStore, disk: Disk) -> None:
    store.create_exclusive("epochs/1")
    disk.fails_at = "/epochs"
    for _ in range(2):
        with pytest.raises(InDoubt):
            store.create_exclusive("epochs/2")


@pytest.mark.parametrize(
    ("number", "kind"), [(28, StoreRefused), (122, StoreRefused), (30, StoreRefused), (5, StoreUnavailable)]
)
def test_a_disk_that_takes_no_more_is_a_refusal_with_its_reason(
    root: Path, store: LocalStore, number: int, kind: type[Exception]
) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(number, os.strerror(number))

    with pytest.raises(kind, match=BASE):
        store.put(BASE, Full(), media_type="image/png")
    assert files_in(root) == set()


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="file"):
        LocalStore(tmp_path / "file" / "store")


def test_an_object_cut_short_on_the_disk_is_not_taken_for_whole(root: Path, store: LocalStore) -> None:
    put(store, content=b"x" * 100_000)
    with store.get(BASE) as reader:
        assert reader.read(10) == b"x" * 10
        os.truncate(root / "images" / "ab" / ("ab" * 32), 20_000)
        with pytest.raises(StoreUnavailable):
            reader.read()


def test_a_listing_looks_only_into_folders_that_may_hold_what_is_asked(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (BASE, OTHER, names.owner(1)):
        put(store, name)
    looked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(Path(path).name) or scandir(path))
    assert [info.name for info in store.list(BASE)] == [BASE]
    assert looked == ["images", "ab"]
    looked.clear()
    assert [info.name for info in store.list("", after=BASE)] == [OTHER]
    assert looked == ["images", "ab", "cd", "reports"]
