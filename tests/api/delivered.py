"""Images to be delivered, and what came."""

from __future__ import annotations

import io

import httpx
from PIL import Image

from imagerepo.testing.images import draw, encode
from tests.api.caller import Caller, ident_of

PHOTO = encode(draw(300, 200), "JPEG")


def publish(caller: Caller, data: bytes) -> str:
    """Make the image live, whatever it was before; its ident."""
    session = caller.open()
    if caller.add(session, data)["action"] == "add":
        caller.commit(session)
    return ident_of(data)


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))
