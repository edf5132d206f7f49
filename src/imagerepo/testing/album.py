"""The pictures that `imagerepo demo` pushes when it is given none."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from imagerepo.testing.images import draw, encode, exif

PHOTOGRAPH = (6000, 4000)
FRAMES = 8


def draw_into(folder: Path) -> list[Path]:
    """A large JPEG with EXIF (grained, as a camera's is), a PNG with transparency, an animated GIF."""
    drawn = {
        "holiday.jpg": encode(_photograph(), "jpeg", quality=92, exif=exif(orientation=6)),
        "logo.png": encode(draw(1200, 800, "RGBA"), "png"),
        "loop.gif": _loop(),
    }
    for name, data in drawn.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in drawn]


def _photograph() -> Image.Image:
    grain = Image.effect_noise(PHOTOGRAPH, 60).convert("RGB")
    return Image.blend(draw(*PHOTOGRAPH), grain, 0.3)


def _loop() -> bytes:
    first, *others = [draw(320, 240, seed=number) for number in range(FRAMES)]
    return encode(first, "gif", save_all=True, append_images=others, duration=80, loop=0)
