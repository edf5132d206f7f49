"""`imagerepo restore` and `imagerepo drill`: what the store would give back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import is_served
from imagerepo.cli.output import AsJson, byte_progress, note, patience, show_one
from imagerepo.config import Config
from imagerepo.durability import choosing, drill, epochs
from imagerepo.durability.choosing import Wanted
from imagerepo.durability.locks import acquire, exclusive
from imagerepo.durability.restore import in_the_way
from imagerepo.durability.state import Disk
from imagerepo.errors import ConfigError, InUse
from imagerepo.sessions import beside
from imagerepo.store.backends import open_store


def restore(
    to: Annotated[
        Path,
        typer.Option(help="Folder for the restored database; made if need be. An earlier one in it is replaced."),
    ],
    revision: Annotated[int | None, typer.Option(min=0, help="At this revision, or the newest before it.")] = None,
    at: Annotated[datetime | None, typer.Option(help="The newest snapshot up to this moment, in UTC.")] = None,
    to_last_good: Annotated[
        bool, typer.Option("--to-last-good", help="Where the newest is damaged, take the newest that is whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a snapshot's database into a folder, to look at. Claims nothing, fences nobody."""
    config = boot()
    moment = _up_to(at) if at else None
    disk = Disk(to.absolute())
    with _own_folder(disk):
        chosen = _restore(config, disk, Wanted(revision, moment, to_last_good))
    if revision is not None and chosen.revision < revision:
        note(f"no snapshot {'of that time ' if at else ''}shows revision {revision}: the newest before it is given")
    row = chosen.snapshot.header.summary | {"revision": chosen.revision, "database": str(disk.database)}
    show_one(row, as_json=as_json, line=f"{disk.database}: revision {row['revision']}, snapshot {row['sequence']}")


def run_drill(
    sample: Annotated[
        int, typer.Option(min=0, help="Live images, picked at random, whose bytes are compared with their names.")
    ] = drill.SAMPLE,
    as_json: AsJson = False,
) -> None:
    """Restore the newest snapshot beside and look at all of it; keep nothing, claim nothing.

    Exit status 1 if it is not whole. Needs the store alone. With IMAGEREPO_DATA_DIR the folder of a server that
    runs, /readyz tells of the result too.
    """
    config = boot()
    disk = Disk(config.data_dir.absolute())
    served = is_served(disk)
    store = open_store(config.resolved_snapshot_url, config=config, reading=True)
    images = open_store(config.resolved_store_url, config=config, reading=True)
    brief = patience(most_questions=drill.QUESTIONS)
    with _scratch(disk if served else None) as folder, byte_progress("restoring beside") as progress:
        newest = drill.newest(store, folder, brief, progress, place=config.snapshot_place)
        result = drill.run(newest, images, brief, sample=sample)
    if served:
        drill.note(disk, result)
    show_one(result.model_dump(), as_json=as_json, line=_told(result))
    raise typer.Exit(0 if result.whole else 1)


@contextmanager
def _own_folder(disk: Disk) -> Iterator[None]:
    """Hold a folder that no server has, or had: its start would take older rows for what it shipped last.

    Where nothing could be restored, nothing is left that was not there before.
    """
    made, made_lock = not disk.data_dir.exists(), not disk.server_lock.exists()
    try:
        disk.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--to: {disk.data_dir} can't be used: {error.strerror}") from None
    lock = acquire(disk.server_lock, wait=False)
    if lock is None:
        raise InUse(f"a server runs on {disk.data_dir}: restore into another folder")
    try:
        if disk.state() is not None:
            raise InUse(f"{disk.data_dir} is a server's data folder: restore into another folder")
        if strange := in_the_way(disk.database):
            raise ConfigError(f"--to: {strange} is there, and no restore made it: restore into another folder")
        yield
    except BaseException:
        if made_lock:
            disk.server_lock.unlink()
        if made:
            with suppress(OSError):  # somebody put something there
                disk.data_dir.rmdir()
        raise
    finally:
        lock.release()


def _up_to(at: datetime) -> datetime:
    """The moment, in UTC where it says no zone; the end of its second where it says no fraction, as lists show it."""
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    return moment if moment.microsecond else moment.replace(microsecond=999_999)


def _restore(config: Config, disk: Disk, wanted: Wanted) -> choosing.Chosen:
    store, asking = open_store(config.resolved_snapshot_url, config=config, reading=True), patience()
    before = epochs.first_unclaimed(store, asking)
    with byte_progress("restoring") as progress:
        return choosing.restore_wanted(
            store,
            before,
            disk.database,
            wanted,
            asking,
            progress=progress,
            tell=lambda what: note(f"passed over: {what}"),
            finish=beside.flip,
            place=config.snapshot_place,
        )


@contextmanager
def _scratch(disk: Disk | None) -> Iterator[Path]:
    """Where to restore: in the scratch of the server that runs, one at a time, or in a temporary folder."""
    if disk is None:
        with tempfile.TemporaryDirectory(prefix="imagerepo-drill-") as folder:
            yield Path(folder)
    else:
        with exclusive(disk.bases_lock):
            yield disk.scratch


def _told(result: drill.Result) -> str:
    if result.snapshot is None:
        return f"NOT DONE: {result.problems[0]}"
    looked = (
        f"snapshot {result.sequence}, revision {result.revision}: {result.images:,} images, {result.sampled} of them "
        f"compared with their names; {result.stored_bytes:,} bytes read for a database of {result.database_bytes:,}, "
        f"{result.seconds:.1f} s"
    )
    return "\n".join([f"{'whole' if result.whole else 'NOT WHOLE'}: {looked}", *result.problems])
