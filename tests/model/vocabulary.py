"""The steps' names, which the code, the models and docs/durability.md share."""

from __future__ import annotations

IN_CHAIN = frozenset(
    {
        "commit.claim", "commit.give_back", "commit.merge", "commit.flip",
        "snapshot.cut", "snapshot.put", "snapshot.final",
        "start.claim", "start.owner", "start.find", "start.disk", "start.recover", "start.open",
        "base.put",
    }
)  # fmt: skip
IN_PRUNING = frozenset(
    {"base.put", "base.known", "prune.delete", "snapshot.put", "snapshot.final", "start.claim", "start.find"}
)
IN_CLAIMING = frozenset({"start.claim", "start.owner"})
IN_CONDEMNING = frozenset(
    {
        "commit.claim", "commit.upload", "commit.merge", "snapshot.final",
        "reconcile.condemn", "reconcile.delete", "reconcile.clear",
    }
)  # fmt: skip

NOT_MODELLED = {
    "fixity.check": "it reads",
    "fixity.save": "no truth rests on it",
    "purge.history": "as purge.forget",
    "purge.forget": "a change of other rows, shipped as a merge is",
    "reconcile.survey": "it reads, and what it finds is looked at again before anything is deleted",
    "reconcile.plan": "local files, which say what is to be looked at",
    "reconcile.sweep": "derivatives are made again; of older epochs only what no restore can reach",
    "commit.uploaded": "one step with the claim: what is not uploaded yet is not merged",
    "snapshot.compare": "it decides whether a snapshot is wanted, not what is in it",
    "publish.change": "a change of other rows, shipped as a merge is",
    "start.migrate": "the same rows in another schema",
    "base.build": "one step with base.put: it reads what is final, which never changes",
    "restore.fetch": "reading what never changes; which record it begins at is start.find",
    "restore.part": "as restore.fetch",
    "restore.apply": "rows are restored in one step: a file in the making is nobody's database",
    "restore.install": "one step with start.disk: until the recovery is done the disk counts as empty",
}
"""Steps that no model has, and why."""
