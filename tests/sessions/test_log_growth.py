"""What grows SQLite's log: staging and merging, and nothing that only tells how far something is."""

from __future__ import annotations

from tests.inprocess import Repository
from tests.sessions.uploads import upload


def test_progress_is_not_written_to_the_database(repository: Repository) -> None:
    session = repository.open_session()
    for number in range(12):
        upload(repository, session, f"image {number}")
    writer, seen, put = repository.service.writer, [], repository.store.put

    def watching(name, body, **options):
        answer = put(name, body, **options)
        if name.startswith("images/"):
            seen.append(writer.log_bytes())
        return answer

    repository.store.put = watching
    try:
        repository.commit(session)
    finally:
        repository.store.put = put
    assert len(seen) == 12
    assert len(set(seen)) == 1
