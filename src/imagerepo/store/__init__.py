"""The object store: its seam, its backends, its names, and the images kept in it."""
