"""`imagerepo snapshot` and `imagerepo restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import Claim, writer
from imagerepo.cli.output import AsJson, byte_progress, note, show, show_one
from imagerepo.config import Config
from imagerepo.durability import chain, epochs
from imagerepo.durability.locks import acquire
from imagerepo.durability.records import Header
from imagerepo.durability.restore import restore as restore_database
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.errors import DurabilityError, InUse
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
    row = _row(header)
    show_one(row, as_json=as_json, line=f"{row['sequence']}  {row['kind']}  revision {row['revision']}")


@app.command("list")
def list_snapshots(as_json: AsJson = False) -> None:
    """List the snapshots in the store, newest first. Needs no data folder and claims nothing."""
    config = boot()
    store = open_store(config.resolved_snapshot_url, config=config)
    patience = _patience()
    end = _newest(store, patience)
    rows = [_row(snapshot.header) for snapshot in chain.back(store, end, patience)] if end else []
    show(rows, as_json=as_json, empty="no snapshots yet")


def restore(
    to: Annotated[Path, typer.Option(help="Folder for the restored database; made if it isn't there.")],
    as_json: AsJson = False,
) -> None:
    """Restore the newest snapshot's database into a folder, to look at. Claims nothing, fences nobody."""
    config = boot()
    disk = Disk(to.absolute())
    disk.data_dir.mkdir(parents=True, exist_ok=True)
    lock = acquire(disk.server_lock, wait=False)
    if lock is None:
        raise InUse(f"a server runs on {to}: restore into another folder")
    try:
        end = _restore(config, disk)
    finally:
        lock.release()
    row = _row(end.header) | {"database": str(disk.database)}
    show_one(row, as_json=as_json, line=f"{disk.database}: revision {row['revision']}, snapshot {row['sequence']}")


def _restore(config: Config, disk: Disk) -> chain.Snapshot:
    store, patience = open_store(config.resolved_snapshot_url, config=config), _patience()
    end = _newest(store, patience)
    if end is None:
        raise DurabilityError(f"{config.resolved_snapshot_url} holds no snapshot: is the URL right?")
    with byte_progress() as progress:
        task = progress.add_task("restoring", total=None)
        restore_database(
            store, end, disk.database, patience, lambda done, total: progress.update(task, completed=done, total=total)
        )
    return end


def _newest(store: ObjectStore, patience: Patience) -> chain.Snapshot | None:
    newest = epochs.first_absent(lambda epoch: epochs.exists(store, epoch, patience))
    return chain.find_end(store, newest, patience)


def _patience() -> Patience:
    return Patience(refusals_end=True, report=lambda reason: note(f"waiting for the store: {reason}"))


def _row(header: Header) -> dict[str, Any]:
    return {
        "sequence": header.sequence,
        "epoch": header.epoch,
        "kind": header.kind,
        "revision": header.head_after,
        "bytes": header.stored_bytes,
        "created_at": header.created_at,
    }
