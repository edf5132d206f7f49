"""The main job, end to end on a real Swift: stage unseen, commit, lose the disk, come back whole."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx

from imagerepo.testing.images import draw, encode, photograph
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.conftest import NewServer

PICTURES = {
    "photograph.jpg": photograph(1600, 1200, orientation=6).data,
    "drawing.png": encode(draw(300, 200, "RGBA"), "PNG"),
    "animation.gif": encode(draw(64, 64), "GIF"),
}


def listing(client: httpx.Client) -> Any:
    answer = client.get("/api/v1/images")
    assert answer.status_code == 200, answer.text
    return answer.json()


def do_the_main_job(server: Server) -> None:
    admin = server.admin
    session = admin.post("/api/v1/sessions", json={"title": "the main job"}).json()
    staged = [stage(admin, session["id"], name, content) for name, content in PICTURES.items()]
    assert listing(server.client())["results"] == []
    assert server.client().get(f"/images/{staged[0]['ident']}").status_code == 404

    live = admin.post(f"/api/v1/sessions/{session['id']}/commit")
    assert live.status_code == 200, live.text
    assert (live.json()["state"], live.json()["revision"]) == ("live", 1)

    before = listing(server.client())
    assert {image["ident"] for image in before["results"]} == {image["ident"] for image in staged}
    derivative = f"/images/{staged[0]['ident']}-300x400.webp"
    made = server.client().get(derivative)
    assert (made.status_code, made.headers["content-type"]) == (200, "image/webp")

    server.kill()
    server.lose_disk()
    server.start()
    client = server.client()
    assert listing(client) == before
    for content in PICTURES.values():
        ident = hashlib.sha256(content).hexdigest()
        assert client.get(f"/images/{ident}").content == content
    assert client.get(derivative).content == made.content
    again = server.admin.post(f"/api/v1/sessions/{session['id']}/commit")
    assert (again.status_code, again.json()["revision"]) == (200, 1)


def stage(client: httpx.Client, session: str, name: str, content: bytes) -> Any:
    answer = client.post(
        f"/api/v1/sessions/{session}/images", files={"file": (name, content)}, data={"metadata": '{"tags": ["job"]}'}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_on_swift(swift: Swift, container: str, new_server: NewServer) -> None:
    do_the_main_job(new_server(store_url=f"swift://{container}/photos", environ=swift.environ, workers=2).start())


def test_on_three_replicas_with_one_object_server_down(
    swift_of_three: Swift, container: str, new_server: NewServer
) -> None:
    swift_of_three.kill("object2")
    try:
        do_the_main_job(new_server(store_url=f"swift://{container}", environ=swift_of_three.environ).start())
    finally:
        swift_of_three.respawn("object2")


def test_on_three_replicas_a_record_written_with_one_down_is_found_with_another_down(
    swift_of_three: Swift, container: str, new_server: NewServer
) -> None:
    server = new_server(store_url=f"swift://{container}", environ=swift_of_three.environ)
    swift_of_three.kill("object1")
    try:
        server.start()
        session = server.admin.post("/api/v1/sessions", json={}).json()["id"]
        stage(server.admin, session, "a.png", PICTURES["drawing.png"])
        assert server.admin.post(f"/api/v1/sessions/{session}/commit").status_code == 200
        server.kill()
        server.lose_disk()
    finally:
        swift_of_three.respawn("object1")
    assert [image["filename"] for image in listing(server.start().client())["results"]] == ["a.png"]
