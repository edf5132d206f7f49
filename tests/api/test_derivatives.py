"""GET /images/{ident}-…: derivatives by their exact names, and by a box that they are to fit."""

from __future__ import annotations

import hashlib

import pytest
from PIL import Image

from imagerepo.testing.images import draw, encode
from tests.api.caller import Caller, problem
from tests.api.delivered import opened, publish
from tests.inprocess import Repository

ALPHA = encode(draw(40, 30, "RGBA"), "PNG")


@pytest.mark.parametrize(("suffix", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("avif", "AVIF")])
def test_a_derivative_has_the_size_and_format_of_its_name(
    stranger: Caller, photo: str, suffix: str, format: str
) -> None:
    response = stranger("GET", f"/images/{photo}-150x90.{suffix}")
    image = opened(response)
    assert (image.format, image.size) == (format, (150, 90))
    assert response.headers["Content-Type"] == f"image/{format.lower()}"


def test_a_derivative_may_be_cut_turned_and_gray(stranger: Caller, photo: str) -> None:
    image = opened(stranger("GET", f"/images/{photo}-x10y20w100h50-100x50-r90-gray.png"))
    assert (image.size, image.mode) == ((50, 100), "L")


def test_a_large_derivative_is_delivered_whole_and_in_parts(ann: Caller, stranger: Caller) -> None:
    noise = Image.effect_noise((900, 900), 80)
    path = f"/images/{publish(ann, encode(noise, 'PNG'))}-890x890.tif"
    whole = stranger("GET", path)
    assert len(whole.content) > 1 << 19
    assert hashlib.sha256(whole.content).hexdigest() == whole.headers["ETag"].strip('"')
    part = stranger("GET", path, headers={"Range": "bytes=300000-700000"})
    assert part.content == whole.content[300000:700001]


def test_a_derivative_that_is_lost_is_made_again(repository: Repository, stranger: Caller, photo: str) -> None:
    path = f"/images/{photo}-33x22.png"
    first = stranger("GET", path).content
    repository.service.manager.wait_until_stored()
    assert repository.store.stat(path[1:]).size == len(first)
    repository.store.delete([path[1:]])
    assert stranger("GET", path).content == first


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("{ident}-0150x100.jpg", "{ident}-150x100.jpg"),
        ("{ident}-150x100.jpeg", "{ident}-150x100.jpg"),
        ("{ident}-150x100-r0.jpg", "{ident}-150x100.jpg"),
        ("{ident}-150x100-gray-r90.jpg", "{ident}-150x100-r90-gray.jpg"),
        ("{IDENT}", "{ident}"),
    ],
)
def test_a_name_of_another_spelling_is_told_the_canonical_one(
    stranger: Caller, photo: str, name: str, meant: str
) -> None:
    wrong = problem(stranger("GET", f"/images/{name.format(ident=photo, IDENT=photo.upper())}"), 400, "not-canonical")
    assert wrong["canonical"] == f"/images/{meant.format(ident=photo)}"
    assert stranger("GET", wrong["canonical"]).status_code == 200


@pytest.mark.parametrize(
    "tail", ["-150x.jpg", "-0x0.jpg", "-150x100", "-150x100.bmp", "-150x100.exe", "x", "-", ".jpg"]
)
def test_a_name_that_means_nothing_is_refused(stranger: Caller, photo: str, tail: str) -> None:
    assert "canonical" not in problem(stranger("GET", f"/images/{photo}{tail}"), 400, "not-canonical")


@pytest.mark.parametrize("tail", ["-301x200.jpg", "-300x201.jpg", "-x250y0w100h10-10x1.jpg", "-x0y0w10h10-20x20.png"])
def test_nothing_is_made_larger_than_it_is(stranger: Caller, photo: str, tail: str) -> None:
    problem(stranger("GET", f"/images/{photo}{tail}"), 400, "larger-than-base")


def test_a_size_that_the_format_has_not_is_refused(ann: Caller, stranger: Caller) -> None:
    ident = publish(ann, encode(Image.new("L", (17000, 2)), "PNG"))
    problem(stranger("GET", f"/images/{ident}-16384x2.webp"), 400, "too-costly-to-make")
    problem(stranger("GET", f"/images/{ident}/fit?width=16384&format=webp"), 400, "too-costly-to-make")
    accepted = stranger("GET", f"/images/{ident}/fit?width=16384", headers={"Accept": "image/webp"})
    assert accepted.headers["Location"].endswith("-16384x2.jpg")


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ("width=150", "150x100"),
        ("height=100", "150x100"),
        ("width=150&height=20", "30x20"),
        ("width=20&height=150", "20x13"),
        ("width=1", "1x1"),
        ("width=3&height=3", "3x2"),
        ("width=299", "299x199"),
        ("width=9999&height=9999", "300x200"),
        ("width=225", "225x150"),
        ("width=75", "75x50"),
    ],
)
def test_a_fit_leads_to_the_exact_name(stranger: Caller, photo: str, box: str, size: str) -> None:
    response = stranger("GET", f"/images/{photo}/fit?{box}&format=png")
    assert (response.status_code, response.content) == (302, b"")
    assert response.headers["Location"] == f"/images/{photo}-{size}.png"
    assert "Vary" not in response.headers
    assert stranger("GET", response.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("accept", "photo_format", "alpha_format"),
    [
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "avif", "avif"),
        ("image/webp,*/*", "webp", "webp"),
        ("image/png,image/*;q=0.8,*/*;q=0.5", "jpg", "png"),
        ("image/avif;q=0.5,image/webp;q=0.9", "webp", "webp"),
        ("image/avif;q=0, image/webp;q=0, */*", "jpg", "png"),
        ("image/jpeg,image/png,image/avif;q=0.2", "jpg", "png"),
        ("*/*", "jpg", "png"),
        ("text/html", "jpg", "png"),
        ("", "jpg", "png"),
        ("nonsense;;q=x,,/", "jpg", "png"),
    ],
)
def test_without_a_format_the_clients_wish_decides(
    ann: Caller, stranger: Caller, photo: str, accept: str, photo_format: str, alpha_format: str
) -> None:
    for ident, format in ((photo, photo_format), (publish(ann, ALPHA), alpha_format)):
        response = stranger("GET", f"/images/{ident}/fit?width=30", headers={"Accept": accept})
        assert response.headers["Location"].rpartition(".")[2] == format
        assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", ""),
        ("format=png", ""),
        ("width=0", "/width"),
        ("height=-1", "/height"),
        ("width=1.5", "/width"),
        ("width=1000000", "/width"),
        ("width=9&format=bmp", "/format"),
        ("width=9&widht=9", "/widht"),
        ("width=9&width=8", "/width"),
        ("width=9&at=x", "/at"),
    ],
)
def test_a_fit_that_makes_no_sense_is_pointed_at(stranger: Caller, photo: str, query: str, pointer: str) -> None:
    errors = problem(stranger("GET", f"/images/{photo}/fit?{query}"), 400, "bad-request")["errors"]
    assert [error["pointer"] for error in errors] == [pointer]
