"""Judging uploads: what is taken, what is refused, and what a bad one can do to the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagerepo.config import Config
from imagerepo.errors import IntakeError, TooCostly, TooManyFrames, TooManyPixels, UndecodableImage
from imagerepo.store.decode import GRAY16_LONGEST_SIDE
from imagerepo.store.intake import Decoded, Decoder
from imagerepo.testing import forged, images, strategies
from imagerepo.testing.images import Picture
from tests.store import children
from tests.waiting import until

SLOWEST_SECONDS = 10


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(Config(decode_workers=1))
    yield decoder
    decoder.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "image"


def inspect(decoder: Decoder, path: Path, data: bytes) -> Decoded:
    path.write_bytes(data)
    return decoder.inspect(path)


@pytest.mark.parametrize("name", images.GOOD)
def test_a_good_picture_is_taken_for_what_it_is(decoder: Decoder, image: Path, name: str) -> None:
    picture = images.good(name)
    found = inspect(decoder, image, picture.data)
    assert (found.format, found.width, found.height) == (picture.format, picture.width, picture.height)
    assert (found.frames, found.has_alpha) == (picture.frames, picture.has_alpha)
    assert found.media_type == f"image/{picture.format}"


@pytest.mark.parametrize("name", images.BAD)
def test_a_bad_one_is_refused_in_time_and_for_its_reason(decoder: Decoder, image: Path, name: str) -> None:
    refused = images.bad(name)
    begun = time.monotonic()
    with pytest.raises(IntakeError) as caught:
        inspect(decoder, image, refused.data)
    assert type(caught.value) is refused.error
    assert str(image) not in str(caught.value), "the spool's path is nobody's business"
    assert time.monotonic() - begun < SLOWEST_SECONDS


@settings(deadline=None, max_examples=30)
@given(picture=strategies.images())
def test_pictures_of_any_format_size_and_orientation_are_taken(
    decoder: Decoder, tmp_path_factory: pytest.TempPathFactory, picture: Picture
) -> None:
    found = inspect(decoder, tmp_path_factory.mktemp("picture") / "image", picture.data)
    assert (found.format, found.width, found.height) == (picture.format, picture.width, picture.height)
    assert found.taken_at == (datetime.fromisoformat(picture.taken_at) if picture.taken_at else None)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(images.EACH_FORMAT), data=st.data())
def test_damaged_bytes_are_judged_and_never_crash_the_server(
    decoder: Decoder, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(images.good(name).data)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        inspect(decoder, tmp_path_factory.mktemp("damaged") / "image", bytes(content))
    except IntakeError as error:
        assert str(error)


@pytest.mark.parametrize("name", [*images.EACH_FORMAT, "png animated (APNG)", "webp animated", "tiff of several pages"])
def test_an_image_cut_anywhere_in_its_first_nine_tenths_is_refused(decoder: Decoder, image: Path, name: str) -> None:
    whole = images.good(name).data
    for tenths in range(1, 10):
        with pytest.raises(IntakeError):
            inspect(decoder, image, whole[: len(whole) * tenths // 10])


def test_a_png_needs_its_end_and_its_checksums(decoder: Decoder, image: Path) -> None:
    whole = images.good("png").data
    with pytest.raises(UndecodableImage):
        inspect(decoder, image, whole[:-12])
    flipped = bytearray(whole)
    flipped[-17] ^= 1  # in the checksum of the pixels
    with pytest.raises(UndecodableImage):
        inspect(decoder, image, bytes(flipped))


@pytest.mark.parametrize("format", ["tiff", "jp2"])
def test_large_sixteen_bit_gray_is_taken_as_a_png_alone(decoder: Decoder, image: Path, format: str) -> None:
    longest = Image.new("I;16", (GRAY16_LONGEST_SIDE, 20), 40_000)
    longer = Image.new("I;16", (GRAY16_LONGEST_SIDE + 1, 20), 40_000)
    assert inspect(decoder, image, images.encode(longest, format)).format == format
    with pytest.raises(UndecodableImage, match="send it as a PNG"):
        inspect(decoder, image, images.encode(longer, format))
    assert inspect(decoder, image, images.encode(longer, "png")).format == "png"


def test_a_tiff_needs_its_tags_whole_also_behind_the_pixels(decoder: Decoder, image: Path) -> None:
    whole = images.encode(images.draw(32, 32), "tiff", compression="tiff_lzw", icc_profile=bytes(3000))
    assert inspect(decoder, image, whole).width == 32
    with pytest.raises(UndecodableImage):
        inspect(decoder, image, whole[:-100])


@pytest.mark.parametrize(
    ("offset", "taken"),
    [("+02:00", datetime(2021, 7, 14, 16, 30, tzinfo=UTC)), (None, datetime(2021, 7, 14, 18, 30, tzinfo=UTC))],
)
def test_the_time_of_the_photograph_is_read_from_exif(
    decoder: Decoder, image: Path, offset: str | None, taken: datetime
) -> None:
    data = images.encode(images.draw(8, 8), "jpeg", exif=images.exif(offset=offset))
    assert inspect(decoder, image, data).taken_at == taken


@pytest.mark.parametrize("when", ["", "    :  :     :  :  ", "yesterday", "2021:13:45 99:00:00", "2021:07:14"])
def test_a_nonsensical_time_in_exif_is_no_time(decoder: Decoder, image: Path, when: str) -> None:
    data = images.encode(images.draw(8, 8), "jpeg", exif=images.exif(when=when, offset="+14:00"))
    assert inspect(decoder, image, data).taken_at is None


def test_orientation_in_xmp_alone_turns_nothing_as_browsers_turn_nothing(decoder: Decoder, image: Path) -> None:
    turned = images.xmp(extra='xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"')
    found = inspect(decoder, image, images.encode(images.draw(30, 20), "jpeg", xmp=turned))
    assert (found.width, found.height) == (30, 20)


class TestLimits:
    def test_a_frame_may_have_exactly_the_limit_of_pixels(self, image: Path) -> None:
        decoder = Decoder(Config(max_pixels=96 * 64))
        try:
            assert inspect(decoder, image, images.good("png").data).width == 96
            with pytest.raises(TooManyPixels):
                inspect(decoder, image, images.encode(images.draw(97, 64), "png"))
        finally:
            decoder.close()

    def test_all_frames_together_may_have_four_times_as_many(self, image: Path) -> None:
        decoder = Decoder(Config(max_pixels=100))
        try:
            assert inspect(decoder, image, forged.uniform_gif(10, 10, 4)).frames == 4
            with pytest.raises(TooManyPixels):
                inspect(decoder, image, forged.uniform_gif(10, 10, 5))
            with pytest.raises(TooManyPixels):
                inspect(decoder, image, images.pages([(10, 10)] * 5).data)
        finally:
            decoder.close()

    def test_as_many_frames_as_the_limit_are_taken(self, image: Path) -> None:
        decoder = Decoder(Config(max_frames=4))
        try:
            assert inspect(decoder, image, forged.uniform_gif(10, 10, 4)).frames == 4
            with pytest.raises(TooManyFrames):
                inspect(decoder, image, forged.uniform_gif(10, 10, 5))
        finally:
            decoder.close()

    @pytest.mark.parametrize("format", ["jpeg", "png", "gif", "tiff", "bmp", "jp2"])
    def test_more_memory_than_allowed_is_too_costly(self, image: Path, format: str) -> None:
        decoder = Decoder(Config(decode_memory_bytes=8 << 20))
        try:
            with pytest.raises(TooCostly):
                inspect(decoder, image, images.encode(images.draw(4000, 3000), format))
            assert inspect(decoder, image, images.good(format).data).width == 96
        finally:
            decoder.close()

    def test_openjpeg_out_of_memory_is_not_taken_for_damage(self, image: Path) -> None:
        data = images.encode(images.draw(3000, 2000), "jp2", quality_mode="rates", quality_layers=[200])
        for memory_mib in range(40, 120, 10):
            decoder = Decoder(Config(decode_memory_bytes=memory_mib << 20))
            try:
                with pytest.raises(TooCostly):
                    inspect(decoder, image, data)
            finally:
                decoder.close()

    def test_more_time_than_allowed_is_too_costly_and_the_pool_goes_on(self, image: Path) -> None:
        decoder = Decoder(Config(decode_seconds=0.3, decode_workers=1))
        slow = forged.uniform_gif(2000, 2000, 100)
        try:
            with pytest.raises(TooCostly):
                inspect(decoder, image, slow)
            assert inspect(decoder, image, images.good("bmp").data).width == 96
        finally:
            decoder.close()


def test_a_decoder_that_crashes_refuses_the_image_and_the_pool_goes_on(decoder: Decoder, image: Path) -> None:
    slow = image.with_name("slow")
    slow.write_bytes(forged.uniform_gif(3000, 3000, 44))
    with ThreadPoolExecutor(1) as threads:
        verdict = threads.submit(decoder.inspect, slow)
        os.kill(children.busy_worker(), signal.SIGSEGV)
        with pytest.raises(UndecodableImage):
            verdict.result()
    assert inspect(decoder, image, images.good("png").data).format == "png"


def test_an_idle_process_that_died_is_replaced(decoder: Decoder, image: Path) -> None:
    inspect(decoder, image, images.good("png").data)
    for pid in children.workers():
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: children.is_gone(pid))
    assert inspect(decoder, image, images.good("png").data).format == "png"


def test_many_threads_share_the_processes(tmp_path: Path) -> None:
    decoder = Decoder(Config(decode_workers=2))
    try:
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda name: _inspect_named(decoder, tmp_path, name), images.GOOD * 3))
        assert [one.format for one in found] == [images.good(name).format for name in images.GOOD * 3]
    finally:
        decoder.close()


def test_the_servers_own_memory_does_not_grow_with_the_image(decoder: Decoder, image: Path) -> None:
    large = images.encode(images.draw(6000, 4000), "bmp")
    image.write_bytes(large)
    del large
    before = children.resident_bytes()
    assert decoder.inspect(image).width == 6000
    assert children.resident_bytes() - before < 10 << 20


def _inspect_named(decoder: Decoder, folder: Path, name: str) -> Decoded:
    return inspect(decoder, folder / f"{threading.get_ident()}", images.good(name).data)


DECODE_FOR_LONG = """
import sys, threading
from pathlib import Path
from imagerepo.config import Config
from imagerepo.store.decode import GRAY16_LONGEST_SIDE
from imagerepo.store.intake import Decoder
decoder = Decoder(Config(decode_seconds=1, max_pixels=10**10))
threading.Thread(target=decoder.inspect, args=[Path(sys.argv[1])], daemon=True).start()
print("decoding", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "in order"])
def test_no_process_outlives_the_server_however_it_ends(image: Path, ending: signal.Signals | None) -> None:
    image.write_bytes(forged.uniform_gif(3000, 3000, 1000))  # minutes of work
    server = subprocess.Popen(
        [sys.executable, "-c", DECODE_FOR_LONG, str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        pid = children.busy_worker(of=server.pid)
        if ending is not None:
            server.send_signal(ending)
    until(lambda: children.is_gone(pid))


def test_the_process_that_decodes_sees_no_credentials(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_PASSWORD", "a-secret")
    monkeypatch.setenv("IMAGEREPO_ADMIN_TOKEN", "a-secret-of-sixteen")
    others = children.workers()
    decoder = Decoder(Config())
    try:
        inspect(decoder, image, images.good("png").data)
        (pid,) = set(children.workers()).difference(others)
        assert b"a-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        decoder.close()
