"""`imagerepo snapshot`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from imagerepo.boot import boot
from imagerepo.cli.commands import Commands
from imagerepo.cli.folder import Claim, writer
from imagerepo.cli.output import AsJson, byte_progress, note, patience, show, show_one
from imagerepo.config import Config
from imagerepo.durability import chain, epochs, restore, retention
from imagerepo.durability.settle import Patience
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectInfo, ObjectStore

app = Commands(help="Make, list and prune snapshots of the metadata.", no_args_is_help=True)


class Kind(StrEnum):
    DELTA = "delta"
    BASE = "base"


@app.command()
def create(
    kind: Annotated[
        Kind, typer.Option(help="delta: what changed. base: the whole, beside it; a restore then reads nothing older.")
    ] = Kind.DELTA,
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Make everything that changed since the last snapshot durable. Prints the newest snapshot."""
    config = boot()
    from imagerepo.sessions import lane

    with writer(config, claim=claim) as lane_writer:
        if kind is Kind.BASE:
            with byte_progress("restoring beside") as progress:
                made, created = lane.base(lane_writer, progress)
        else:
            made, created = lane.snapshot(lane_writer)
    note("made" if created else "nothing changed since the last one")
    row = made.summary
    show_one(row, as_json=as_json, line=f"{row['sequence']}  {row['kind']}  revision {row['revision']}")


@app.command("list")
def list_snapshots(as_json: AsJson = False) -> None:
    """List the snapshots in the store, newest first. Needs no data folder and claims nothing."""
    config = boot()
    store, asking = open_store(config.resolved_snapshot_url, config=config, reading=True), patience()
    end = restore.find_end(store, epochs.first_unclaimed(store, asking), asking, note)
    rows = restore.around_damaged_bases(lambda without: _kept(store, end, asking, without), note) if end else []
    show(rows, as_json=as_json, empty=f"no snapshots yet in {config.snapshot_place}")


def _kept(store: ObjectStore, end: chain.Snapshot, asking: Patience, without: frozenset[str]) -> list[dict[str, Any]]:
    return [snapshot.summary for snapshot in chain.kept(store, end, asking, without)]


@app.command()
def prune(
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only what would go is listed.")] = False,
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Delete snapshots that no restore within IMAGEREPO_RETENTION_SECONDS needs. Lists them unless --delete.

    To list them needs no data folder and claims nothing.
    """
    config = boot()
    now = datetime.now(UTC)
    cutoff = now - timedelta(seconds=config.retention_seconds)
    abandoned = now - timedelta(seconds=config.abandoned_seconds)
    if delete:
        with writer(config, claim=claim) as lane_writer:
            objects = retention.prune(lane_writer, cutoff, patience(), abandoned=abandoned, delete=True).objects
    else:
        objects = _may_go(config, cutoff, abandoned)
    size = sum(info.size for info in objects)
    note(f"{'deleted' if delete else 'would delete'} {len(objects)} objects, {size:,} bytes")
    rows = [{"object": info.name, "bytes": info.size} for info in objects]
    show(rows, as_json=as_json, empty="nothing to prune")


def _may_go(config: Config, cutoff: datetime, abandoned: datetime) -> tuple[ObjectInfo, ...]:
    store, asking = open_store(config.resolved_snapshot_url, config=config, reading=True), patience()
    end = restore.find_end(store, epochs.first_unclaimed(store, asking), asking, note)
    return retention.plan(store, end, cutoff, asking, abandoned=abandoned).objects if end else ()
