"""What is live: the versioned rows of the catalogue and the queries that read them at a revision."""
