"""Schema of the catalogue and of the shadow tables, installed as imagerepo.migrations."""
