"""Counters in a file that outlives the process: one memory-mapped file of each worker, in memory of the host.

A figure is written where it is counted, without a system call, and is in the file at once: a process that is
killed loses none. The next worker of the same number goes on with them.

The file is `MAGIC`, the number of bytes in use, and then series: the length of a name, the number of its
figures, the name (parts separated by a zero, filled up to eight bytes), the figures (doubles). All numbers
have eight bytes in the host's order.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

MAGIC = b"CFLEET01"
# Bytes. All series of a worker fit, see counters.py; more of them are not counted.
SIZE = 512 * 1024
# Characters of a part of a name.
LONGEST = 120

_WORD = 8
_HEADER = struct.Struct("=8sQ")
_SERIES = struct.Struct("=QQ")


class CounterFile:
    """Series of figures in a file, or in memory alone.

    Args:
        path: The file; none, or one that cannot be used: what is counted ends with the process.

    Attributes:
        cells: All figures, by the index that `series` returns.
    """

    def __init__(self, path: Path | None) -> None:
        self._map = (None if path is None else _mapped(path)) or mmap.mmap(-1, SIZE)
        self._places: dict[bytes, int] = {}
        try:
            self._end = self._read()
        except ValueError as error:
            logger.warning("%s starts anew: %s", path, error)
            self._end = self._begin()
        self.cells = memoryview(self._map).cast("d")

    def series(self, *name: str, figures: int) -> int | None:
        """Return where the figures of a series are, which is made if it is not there.

        Args:
            name: The parts of its name.
            figures: Their number.

        Returns:
            The index of the first in `cells`; none if there is no room.
        """
        key = "\0".join(map(clean, name)).encode(errors="replace")
        if key in self._places:
            return self._places[key]
        start = self._end + _SERIES.size + -(-len(key) // _WORD) * _WORD
        end = start + figures * _WORD
        if end > SIZE:
            return None
        _SERIES.pack_into(self._map, self._end, len(key), figures)
        self._map[self._end + _SERIES.size : self._end + _SERIES.size + len(key)] = key
        # Last, so that a reader and the next process see whole series only.
        _HEADER.pack_into(self._map, 0, MAGIC, end)
        self._end = end
        self._places[key] = start // _WORD
        return start // _WORD

    def names(self) -> Iterator[tuple[str, ...]]:
        """Return the names of all series."""
        return (tuple(key.decode().split("\0")) for key in list(self._places))

    def _begin(self) -> int:
        self._places.clear()
        self._map[:] = bytes(SIZE)
        _HEADER.pack_into(self._map, 0, MAGIC, _HEADER.size)
        return _HEADER.size

    def _read(self) -> int:
        magic, end = _HEADER.unpack_from(self._map)
        if (magic, end) == (bytes(_WORD), 0):
            return self._begin()
        if magic != MAGIC or not _HEADER.size <= end <= SIZE:
            raise ValueError("it is of another release of the kit, or broken")
        place = _HEADER.size
        while place < end:
            length, figures = _SERIES.unpack_from(self._map, place)
            start = place + _SERIES.size + -(-length // _WORD) * _WORD
            key = self._map[place + _SERIES.size : place + _SERIES.size + length]
            place = start + figures * _WORD
            if place > end:
                raise ValueError("it is broken")
            key.decode()
            self._places[key] = start // _WORD
        return place


def clean(text: str) -> str:
    """Return a part of a name as it is kept: printable, and not endless."""
    text = text[:LONGEST]
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def _mapped(path: Path) -> mmap.mmap | None:
    """Map a file that has all its room: where the file system is full, a write would end the process."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(file, 0, SIZE)
            return mmap.mmap(file, SIZE)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        logger.warning("Cannot keep counters, which end with this process: %s", error)
        return None
