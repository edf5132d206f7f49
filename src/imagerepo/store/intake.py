"""Judge uploads: what is this file, and can it be decoded whole? The work is done in killable processes."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from imagerepo.config import Config
from imagerepo.errors import TooCostly, TooManyUploads, UndecodableImage
from imagerepo.store.formats import Decoded
from imagerepo.store.workers import Crashed, NoneFree, OverLimit, WorkerPool

__all__ = ["Decoded", "Decoder"]

WAITS_PER_DECODE = 3
"""An upload waits for a free process for so many times the longest decode, then its sender is told to."""

_log = logging.getLogger(__name__)


class Decoder:
    """Decodes uploads within the limits of the configuration. One for each server process; thread-safe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pool = WorkerPool(
            "inspect",
            config.decode_workers,
            seconds=config.decode_seconds,
            memory_bytes=config.decode_memory_bytes,
            patience=WAITS_PER_DECODE * config.decode_seconds,
        )

    def inspect(self, path: Path) -> Decoded:
        """What the image at `path` is, every frame of it decoded.

        Raises UnsupportedFormat, UndecodableImage, TooManyPixels, TooManyFrames, TooCostly, or
        TooManyUploads when all processes stay busy. The file is only read.
        """
        limits = {
            "max_pixels": self._config.max_pixels,
            "max_frames": self._config.max_frames,
            "memory_bytes": self._config.decode_memory_bytes,
        }
        try:
            facts = self._pool.run(path=str(path.absolute()), **limits)
        except OverLimit as error:
            raise TooCostly(f"decoding the image costs too much: {error}; send it smaller or simpler") from None
        except Crashed as error:
            _log.warning("%s can't be decoded: %s", path.name, error)
            raise UndecodableImage("the image breaks its decoder; it is damaged") from None
        except NoneFree:
            raise TooManyUploads("too many images are being decoded; send it again in a while") from None
        taken_at = facts.pop("taken_at")
        return Decoded(**facts, taken_at=taken_at and datetime.fromisoformat(taken_at))

    def close(self) -> None:
        """End the processes."""
        self._pool.close()
