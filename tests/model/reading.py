"""What anybody finds who reads the store: the chain's end, its rows, and what recovery makes of them."""

from __future__ import annotations

from typing import cast

from tests.model.facts import Link, Name, Outbox, Record, Row, Rows, Store, fetch, flipped


class Reading:
    """The rules of reading, apart from who reads."""

    def __init__(self, sessions: int) -> None:
        self._sessions = sessions
        self._digests: dict[Record, int] = {}

    def digest(self, record: Record) -> int:
        return self._digests.setdefault(record, len(self._digests))

    def link(self, owed: Outbox) -> Link:
        return Link(owed.name, self.digest(owed.record))

    def empty(self) -> Rows:
        return (Row("unknown"),) * self._sessions

    def end(self, store: Store) -> Name:
        """The last record of the newest epoch that has an owner and an opening record."""
        opened = (name.epoch for name, _ in store if name.seq == 0 and name.kind == "record")
        end = Name(max(epoch for epoch in opened if fetch(store, Name(epoch, 0, "owner")) is not None), 0)
        while fetch(store, Name(end.epoch, end.seq + 1)) is not None:
            end = Name(end.epoch, end.seq + 1)
        return end

    def restored(self, store: Store, end: Name) -> Rows | None:
        """The rows as of `end`: back by parent and digest to a base, then forward. None: a link is broken."""
        later: list[Record] = []
        link: Link | None = None
        while True:
            base = fetch(store, Name(end.epoch, end.seq, "base"))
            if base is not None:
                return self._applied(cast(Rows, base), later)
            record = cast("Record | None", fetch(store, end))
            if record is None or (link and self.digest(record) != link.digest):
                return None
            later.append(record)
            link = record.parent
            if link is None:
                return self._applied(self.empty(), later)
            end = link.name

    @staticmethod
    def _applied(rows: Rows, later: list[Record]) -> Rows:
        result = list(rows)
        for record in reversed(later):
            for session, row in record.changes:
                result[session] = row
        return tuple(result)

    def recovered(self, rows: Rows, head_after: int, *, kept: bool) -> Rows:
        """Merged up to the chain's end is live; what was staged is lost with the disk."""
        staged = Row("open") if kept else Row("aborted")
        return tuple(
            staged if row.state == "committing" or (row.state == "open" and not kept) else row
            for row in flipped(rows, head_after)
        )

    def record(self, store: Store, name: Name) -> Record:
        return cast(Record, fetch(store, name))
