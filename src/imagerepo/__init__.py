"""imagerepo: images in an object store, metadata in SQLite, commits that outlive the machine."""

__version__ = "0.1.0"
