"""`imagerepo demo`: the main job on a real server, step by step. Raises DemoFailed at the first that is not so."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from imagerepo.errors import ImagerepoError
from imagerepo.testing import album
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift

PUSHED_AT_ONCE = 4
THUMBNAIL = {"width": "256", "height": "256", "format": "webp"}
REFUSALS = (413, 415, 422)
MB = 1_000_000


class DemoFailed(ImagerepoError):
    """A step of the demo did not go as it must."""


def run(photos: Path | None, *, on_swift: bool) -> None:
    """Run every step on a new repository, with the images in `photos` or with drawn ones."""
    begun = time.monotonic()
    with _workplace() as folder, _store(folder, on_swift=on_swift) as (url, environ):
        pictures = _found(photos) if photos else _drawn(folder)
        server = Server(folder / "data", url, admin_token=secrets.token_hex(16), environ=environ)
        try:
            _Demo(server, pictures).run()
        finally:
            server.kill()
    _say(f"All of it holds. {time.monotonic() - begun:.1f} s")


@dataclass
class _Demo:
    """What the steps tell each other: the idents that were taken, and what was seen before the disk was lost."""

    server: Server
    pictures: list[Path]
    session: str = ""
    taken: dict[str, Path] = field(default_factory=dict)
    listing: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        self.start("Start the service on an empty store")
        self.push()
        self.see_nothing()
        self.commit()
        self.browse()
        self.fetch_thumbnails()
        self.lose_everything()
        self.start("Start it again: it restores itself from the store")
        self.see_the_same_listing()
        self.see_the_same_bytes()
        with _step("Stop it with SIGTERM"):
            _expect(self.server.stop(), 0, "the server's exit status")

    def start(self, title: str) -> None:
        with _step(title):
            self.server.start()

    def push(self) -> None:
        size = sum(path.stat().st_size for path in self.pictures)
        with _step(f"Open a session and push {len(self.pictures)} files, {size / MB:.1f} MB") as notes:
            client = self.server.admin
            self.session = _json(client.post("/api/v1/sessions", json={"title": "Demo"}), 201)["links"]["self"]
            with ThreadPoolExecutor(PUSHED_AT_ONCE) as threads:
                answers = list(threads.map(lambda path: _push(client, self.session, path), self.pictures))
            self.taken = {ident: path for ident, path in zip(answers, self.pictures, strict=True) if ident}
            notes.append(f"{len(self.taken)} images taken, {answers.count(None)} files refused")
            if not self.taken:
                raise DemoFailed("none of the files is an image that is taken: choose another folder")

    def see_nothing(self) -> None:
        with _step("Look around as a visitor: nothing of it is visible"):
            _expect(self.list(), [], "the listing before the commit")
            client = self.server.client()
            for ident in self.taken:
                _expect(client.get(f"/images/{ident}").status_code, 404, f"the status of {ident}")

    def commit(self) -> None:
        with _step("Commit") as notes:
            session = _json(self.server.admin.post(f"{self.session}/commit"), 200)
            notes.append(f"{session['state']}, revision {session['revision']}, durable in the store")
            _expect(session["state"], "live", "the session's state")

    def browse(self) -> None:
        with _step("Browse") as notes:
            self.listing = self.list()
            _expect({image["ident"] for image in self.listing}, set(self.taken), "the images listed")
            notes.append(", ".join(sorted({image["format"] for image in self.listing})))

    def fetch_thumbnails(self) -> None:
        with _step("Fetch a thumbnail of each, made on demand") as notes:
            client, total = self.server.client(), 0
            for ident in self.taken:
                answer = client.get(f"/images/{ident}/fit", params=THUMBNAIL, follow_redirects=True)
                _expect(answer.status_code, 200, f"the status of {answer.url}")
                total += len(answer.content)
            notes.append(f"{total / 1000:.0f} kB")

    def lose_everything(self) -> None:
        with _step("Kill the service (SIGKILL) and delete its data folder"):
            self.server.kill()
            self.server.lose_disk()

    def see_the_same_listing(self) -> None:
        with _step("Browse again: the same listing"):
            _expect(self.list(), self.listing, "the listing after the restore")

    def see_the_same_bytes(self) -> None:
        with _step("Fetch every base: the same bytes"):
            client = self.server.client()
            for ident, path in self.taken.items():
                same = client.get(f"/images/{ident}").content == path.read_bytes()
                _expect(same, True, f"that {ident} has the bytes of {path.name}")

    def list(self) -> list[dict[str, Any]]:
        """Every page of the listing, as a visitor sees it."""
        client, images_seen, page = self.server.client(), [], "/api/v1/images?limit=200"
        while page:
            answer = _json(client.get(page), 200)
            images_seen += answer["results"]
            page = answer["next"]
        return images_seen


def _push(client: httpx.Client, session: str, path: Path) -> str | None:
    """The image's ident, or None where it is refused."""
    content = path.read_bytes()
    ident = hashlib.sha256(content).hexdigest()
    answer = client.put(f"{session}/images/{ident}", params={"filename": path.name}, content=content)
    if answer.status_code in REFUSALS:
        return None
    if answer.status_code not in (200, 201):
        raise DemoFailed(f"pushing {path.name} answered {answer.status_code}: {answer.text}")
    return ident


def _drawn(folder: Path) -> list[Path]:
    target = folder / "pictures"
    target.mkdir()
    return album.draw_into(target)


def _found(photos: Path) -> list[Path]:
    found = sorted(path for path in photos.rglob("*") if path.is_file())
    if not found:
        raise DemoFailed(f"{photos} holds no files: choose another folder")
    return found


@contextmanager
def _workplace() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="imagerepo-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _store(folder: Path, *, on_swift: bool) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The store's URL, and the credentials for it."""
    if not on_swift:
        yield f"file://{folder / 'store'}", {}
        return
    with _step("Start an OpenStack Swift"):
        swift = Swift(folder / "swift").__enter__()
    try:
        yield f"swift://demo-{uuid.uuid4().hex[:8]}", swift.environ
    finally:
        swift.stop()


@contextmanager
def _step(title: str) -> Iterator[list[str]]:
    """Print the step in one line, with what its body notes and the time that it took."""
    begun, notes = time.monotonic(), list[str]()
    try:
        yield notes
    except BaseException:
        _say(f"   FAILED  {title}")
        raise
    _say(f"{time.monotonic() - begun:7.2f} s  {title}{': ' if notes else ''}{', '.join(notes)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _json(answer: httpx.Response, status: int) -> Any:
    if answer.status_code != status:
        raise DemoFailed(f"{answer.request.method} {answer.url} answered {answer.status_code}: {answer.text}")
    return answer.json()


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise DemoFailed(f"{what} must be {wanted!r}, not {found!r}")
