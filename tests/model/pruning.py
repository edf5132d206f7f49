"""One long reign: deltas, bases made in the background, pruning behind them, and somebody who reads meanwhile.

A reader asks for one name after the other, and between any two of its questions records may come and go. It may
be a start that has claimed the next epoch: then nothing here is final any more, though pruning may go on, as nobody
looks all the time. How a start takes over is the chain's model (chain.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias


class Making(NamedTuple):
    """A base of record `seq` in the making. Its parts are stored; `at` is what comes next for its manifest."""

    at: str
    seq: int


class Reader(NamedTuple):
    """A start that looks for the chain's end: the last manifest and record that it saw, and what it must find."""

    manifest: int
    seq: int
    acknowledged: int
    takes_over: bool = False


class Left(NamedTuple):
    deltas: int = 2
    whole: int = 1
    """Records that are a whole database, because the log was in doubt."""
    bases: int = 2
    doubts: int = 1
    readers: int = 1
    """That claim nothing."""


class Reign(NamedTuple):
    records: frozenset[int]
    parts: frozenset[int]
    """The records of which a whole database is stored: the opening one, those of kind base, and background bases."""
    manifests: tuple[int, ...]
    newest: int
    """The last final record."""
    known: int
    """How many manifests the writer knows to be settled."""
    making: Making | None
    flying: int | None
    reader: Reader | None
    found: int | None
    """How much the reader that finished last found missing."""
    left: Left
    claimed: bool = False
    parent: int | None = None
    """Of the next epoch's opening record: the end of this reign, as its start found it."""


Transitions: TypeAlias = Iterator[tuple[str, Reign]]


class Pruning:
    after_doubt = "settle"

    def __init__(self, left: Left) -> None:
        self._left = left

    def first(self) -> Reign:
        opening = frozenset({0})
        return Reign(opening, opening, (), 0, 0, None, None, None, None, self._left)

    def broken(self, reign: Reign) -> str | None:
        if reign.found:
            return f"2: a start took an end for the newest that is {reign.found} acknowledged records too old"
        if not self._is_restorable(reign, reign.newest):
            return "2: the newest record can't be restored"
        if reign.parent is not None and not self._is_restorable(reign, reign.parent):
            return "2: the next epoch's parent can't be restored"
        return None

    @staticmethod
    def _is_restorable(reign: Reign, seq: int) -> bool:
        bases = {base for base in reign.parts & (reign.records | set(reign.manifests)) if base <= seq}
        return any(reign.records >= set(range(base + 1, seq + 1)) for base in bases)

    def after(self, reign: Reign) -> Transitions:
        yield from self._ship_unheard(reign) if reign.claimed else self._ship(reign)
        yield from self._arrive(reign)
        yield from self._make(reign) if reign.making else self._begin(reign)
        yield from self._prune(reign)
        yield from self._read(reign, reign.reader) if reign.reader else self._start(reign)

    def _ship(self, reign: Reign) -> Transitions:
        left, seq = reign.left, reign.newest + 1
        shipped = reign._replace(records=reign.records | {seq}, newest=seq)
        if left.deltas:
            yield f"snapshot.final {seq}", shipped._replace(left=left._replace(deltas=left.deltas - 1))
        if left.whole:
            fewer = left._replace(whole=left.whole - 1)
            yield f"snapshot.final {seq}, a base", shipped._replace(parts=reign.parts | {seq}, left=fewer)

    def _ship_unheard(self, reign: Reign) -> Transitions:
        """The one record that is stored before its writer looks and finds itself fenced."""
        seq = reign.newest + 1
        if reign.left.deltas and seq not in reign.records:
            left = reign.left._replace(deltas=reign.left.deltas - 1)
            yield f"snapshot.put {seq}, not final: fenced", reign._replace(records=reign.records | {seq}, left=left)

    def _arrive(self, reign: Reign) -> Transitions:
        if reign.flying is not None:
            yield "a late manifest arrives", self._stored(reign, reign.flying)._replace(flying=None)

    @staticmethod
    def _stored(reign: Reign, seq: int) -> Reign:
        return reign if seq in reign.manifests else reign._replace(manifests=(*reign.manifests, seq))

    def _begin(self, reign: Reign) -> Transitions:
        seq = self.base_of(reign)
        if reign.left.bases and seq not in reign.parts:
            left = reign.left._replace(bases=reign.left.bases - 1)
            begun = reign._replace(making=Making("put", seq), parts=reign.parts | {seq}, left=left)
            yield f"base.put, parts of {seq}", begun

    def base_of(self, reign: Reign) -> int:
        return reign.newest

    def _make(self, reign: Reign) -> Transitions:
        assert reign.making
        at, seq = reign.making
        if at == "put":
            yield from self._put(reign, seq)
        elif at == "known":
            yield f"base.known {seq}", reign._replace(making=None, known=len(reign.manifests))
        elif seq in reign.manifests:
            yield f"base.put {seq}: read back, ours", reign._replace(making=Making("known", seq))
        else:
            yield f"base.put {seq}: read back, absent: the same again", reign._replace(making=Making("put", seq))

    def _put(self, reign: Reign, seq: int) -> Transitions:
        applied = self._stored(reign, seq)
        yield f"base.put, manifest of {seq}: 201", applied._replace(making=Making("known", seq))
        if reign.left.doubts:
            left = reign.left._replace(doubts=reign.left.doubts - 1)
            doubtful = reign._replace(making=Making(self.after_doubt, seq), left=left)
            yield f"base.put, manifest of {seq}: in doubt, applied", self._stored(doubtful, seq)
            yield f"base.put, manifest of {seq}: in doubt, under way", doubtful._replace(flying=seq)

    def _prune(self, reign: Reign) -> Transitions:
        """Oldest first."""
        base = self.pruned_before(reign)
        for seq in sorted(seq for seq in reign.records if 0 < seq < base)[:1]:
            yield f"prune.delete record {seq}", reign._replace(records=reign.records - {seq})
        for seq in sorted(seq for seq in reign.parts if seq < base)[:1]:
            yield f"prune.delete parts of {seq}", reign._replace(parts=reign.parts - {seq})

    def pruned_before(self, reign: Reign) -> int:
        """The newest base of which the manifest is known to be settled."""
        return reign.manifests[reign.known - 1] if reign.known else 0

    def _start(self, reign: Reign) -> Transitions:
        reader = Reader(-1, -1, reign.newest)
        if reign.left.readers:
            left = reign.left._replace(readers=reign.left.readers - 1)
            yield "somebody starts to read", reign._replace(reader=reader, left=left)
        if not reign.claimed:
            yield "start.claim", reign._replace(reader=reader._replace(takes_over=True), claimed=True)

    def _read(self, reign: Reign, reader: Reader) -> Transitions:
        """Manifests by number, then records after the newest one's, then the next manifest again."""
        following = reader.manifest + 1
        if reader.seq < 0 and following < len(reign.manifests):
            yield f"start.find manifest {following}: there", self._seen(reign, reader._replace(manifest=following))
        elif reader.seq < 0:
            seq = reign.manifests[reader.manifest] if reader.manifest >= 0 else -1
            yield f"start.find manifest {following}: absent", self._seen(reign, reader._replace(seq=max(seq, 0)))
        else:
            yield from self._upwards(reign, reader)

    def _upwards(self, reign: Reign, reader: Reader) -> Transitions:
        following = reader.seq + 1
        if following in reign.records:
            yield f"start.find {following}: there", self._seen(reign, reader._replace(seq=following))
        elif self.looks_again(reign, reader):
            yield (
                f"start.find {following}: absent, but a manifest came: again",
                self._seen(reign, reader._replace(seq=-1)),
            )
        else:
            yield f"start.find {following}: absent, {reader.seq} is the end", self._ended(reign, reader, reader.seq)

    def looks_again(self, reign: Reign, reader: Reader) -> bool:
        return reader.manifest + 1 < len(reign.manifests)

    @staticmethod
    def _seen(reign: Reign, reader: Reader) -> Reign:
        return reign._replace(reader=reader)

    @staticmethod
    def _ended(reign: Reign, reader: Reader, end: int) -> Reign:
        parent = end if reader.takes_over else reign.parent
        return reign._replace(reader=None, found=max(0, reader.acknowledged - end), parent=parent)


class AbsentIsTheEnd(Pruning):
    """A start takes the first absent record for the end, without looking for a newer manifest."""

    def looks_again(self, reign: Reign, reader: Reader) -> bool:
        return False


class PrunedBeforeSettled(Pruning):
    """Records go once a base's manifest was sent."""

    def pruned_before(self, reign: Reign) -> int:
        sent = reign.making.seq if reign.making and reign.making.at != "put" else 0
        return max(super().pruned_before(reign), sent)


class ManifestInDoubtIsSuccess(Pruning):
    """A manifest without an answer is taken for settled."""

    after_doubt = "known"

    def pruned_before(self, reign: Reign) -> int:
        return max(super().pruned_before(reign), reign.flying or 0)


class PrunedBehindARecord(Pruning):
    """Records go before any whole database, also one in a record, which no manifest tells a start of."""

    def pruned_before(self, reign: Reign) -> int:
        return max({*reign.parts & reign.records, super().pruned_before(reign)})


class BaseOfWhatIsNotFinal(Pruning):
    """A base is made of the newest record that is stored."""

    def base_of(self, reign: Reign) -> int:
        return max(reign.records)


PRUNING_MUTATIONS: tuple[type[Pruning], ...] = (
    AbsentIsTheEnd,
    PrunedBeforeSettled,
    ManifestInDoubtIsSuccess,
    PrunedBehindARecord,
    BaseOfWhatIsNotFinal,
)
SMALL = Left()
WIDE = Left(deltas=3, whole=1, bases=2, doubts=2, readers=1)
