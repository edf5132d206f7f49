"""Snapshots of the database in the object store: records, their chain, epochs and restore."""
