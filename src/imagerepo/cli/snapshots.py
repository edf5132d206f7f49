"""`imagerepo snapshot` and `imagerepo restore`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import Claim, writer
from imagerepo.cli.output import AsJson, byte_progress, note, show, show_one
from imagerepo.config import Config
from imagerepo.durability import chain, epochs, retention
from imagerepo.durability.locks import acquire
from imagerepo.durability.restore import restore as restore_database
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.errors import Damaged, DurabilityError, InUse
from imagerepo.store import names
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectStore

app = typer.Typer(help="Make and list snapshots of the metadata.", no_args_is_help=True)


@app.command()
def create(claim: Claim = False, as_json: AsJson = False) -> None:
    """Make everything that changed since the last snapshot durable. Prints the newest snapshot."""
    config = boot()
    from imagerepo.sessions import lane

    with writer(config, claim=claim) as lane_writer:
        header, created = lane.snapshot(lane_writer)
    note("made" if created else "nothing changed since the last one")
    row = header.summary
    show_one(row, as_json=as_json, line=f"{row['sequence']}  {row['kind']}  revision {row['revision']}")


@app.command("list")
def list_snapshots(as_json: AsJson = False) -> None:
    """List the snapshots in the store, newest first. Needs no data folder and claims nothing."""
    config = boot()
    store = open_store(config.resolved_snapshot_url, config=config)
    patience = _patience()
    end = _newest(store, patience)
    rows = [snapshot.header.summary for snapshot in chain.back(store, end, patience)] if end else []
    show(rows, as_json=as_json, empty="no snapshots yet")


@app.command()
def prune(
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only what would go is listed.")] = False,
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Delete snapshots that no restore within IMAGEREPO_RETENTION_SECONDS needs. Lists them unless --delete."""
    config = boot()
    cutoff = datetime.now(UTC) - timedelta(seconds=config.retention_seconds)
    with writer(config, claim=claim) as lane_writer:
        final = lane_writer.state.final
        assert final is not None  # noqa: S101  # a server runs, so its opening record is final
        end = chain.follow(lane_writer.store, final.link, _patience())
        plan = retention.plan(lane_writer.store, end, cutoff, _patience())
        if delete:
            retention.apply(lane_writer, plan)
    note(f"{'deleted' if delete else 'would delete'} {len(plan.objects)} objects, {plan.bytes:,} bytes")
    rows = [{"object": info.name, "bytes": info.size} for info in plan.objects]
    show(rows, as_json=as_json, empty="nothing to prune")


def restore(
    to: Annotated[Path, typer.Option(help="Folder for the restored database; made if it isn't there.")],
    revision: Annotated[int | None, typer.Option(help="The newest snapshot up to this revision.")] = None,
    at: Annotated[datetime | None, typer.Option(help="The newest snapshot up to this moment, in UTC.")] = None,
    to_last_good: Annotated[
        bool, typer.Option("--to-last-good", help="Where the newest is damaged, take the newest that is whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a snapshot's database into a folder, to look at. Claims nothing, fences nobody."""
    config = boot()
    disk = Disk(to.absolute())
    disk.data_dir.mkdir(parents=True, exist_ok=True)
    lock = acquire(disk.server_lock, wait=False)
    if lock is None:
        raise InUse(f"a server runs on {to}: restore into another folder")
    if disk.state() is not None:
        # A start there would take the older rows for what it shipped last.
        lock.release()
        raise InUse(f"{to} is a server's data folder: restore into another folder")
    moment = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
    try:
        end = _restore(config, disk, Wanted(revision, moment, to_last_good))
    finally:
        lock.release()
    row = end.header.summary | {"database": str(disk.database)}
    show_one(row, as_json=as_json, line=f"{disk.database}: revision {row['revision']}, snapshot {row['sequence']}")


@dataclass(frozen=True)
class Wanted:
    """Which snapshot: the newest up to a revision and a moment; the newest whole one, if that is allowed."""

    revision: int | None
    at: datetime | None
    to_last_good: bool


def _restore(config: Config, disk: Disk, wanted: Wanted) -> chain.Snapshot:
    store, patience = open_store(config.resolved_snapshot_url, config=config), _patience()
    last = _last(store, patience)
    if last is None:
        raise DurabilityError(f"{config.resolved_snapshot_url} holds no snapshot: is the URL right?")
    while True:
        try:
            return _restore_one(store, last, disk, wanted, patience)
        except Damaged as error:
            if not wanted.to_last_good or last.seq == 0:
                hint = "" if wanted.to_last_good else "; --to-last-good takes the newest snapshot that is whole"
                raise Damaged(f"{error}{hint}") from None
            note(f"{error}; trying the snapshot before")
            last = names.Record(last.epoch, last.writer, last.seq - 1)


def _restore_one(
    store: ObjectStore, last: names.Record, disk: Disk, wanted: Wanted, patience: Patience
) -> chain.Snapshot:
    end = chain.read(store, names.build(last), patience)
    chosen = chain.select(store, end, patience, revision=wanted.revision, at=wanted.at)
    with byte_progress() as progress:
        task = progress.add_task("restoring", total=None)
        restore_database(
            store,
            chosen,
            disk.database,
            patience,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    return chosen


def _last(store: ObjectStore, patience: Patience) -> names.Record | None:
    newest = epochs.first_absent(lambda epoch: epochs.exists(store, epoch, patience))
    return chain.find_last(store, newest, patience)


def _newest(store: ObjectStore, patience: Patience) -> chain.Snapshot | None:
    newest = epochs.first_absent(lambda epoch: epochs.exists(store, epoch, patience))
    return chain.find_end(store, newest, patience)


def _patience() -> Patience:
    return Patience(refusals_end=True, report=lambda reason: note(f"waiting for the store: {reason}"))
