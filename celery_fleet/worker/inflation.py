"""Decompress bodies up to a limit: a small message that inflates to gigabytes must not end the worker."""

from __future__ import annotations

import bz2
import importlib
import lzma
import sys
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from kombu import compression

# Bytes that an lzma or xz body may ask for before it is decompressed; its strongest preset needs 65 MiB.
_LZMA_MEMORY = 80 * 1024**2


class InflationError(ValueError):
    """A compressed body is too large, or is not one whole stream."""


def limit_decompression(largest: int) -> None:
    """Let Kombu decompress no more than a plain body may have in this process, with each method that it has.

    So no compressed body needs more memory than a plain one may, and a task too large for the broker does not
    become legal by compression, which hides its size from all but the worker.

    Kombu has the methods of the standard library, and zstd where it is installed. Brotli, which is there only
    if the application brings it, cannot be limited and stays as it is.

    Args:
        largest: Bytes of a body without its compression.
    """
    for method, decompressor in _DECOMPRESSORS.items():
        if method in compression.encoders():
            encoder, _ = compression.get_encoder(method)
            compression.register(encoder, partial(inflate, decompressor, largest), method)


def inflate(decompressor: Callable[[], Any], largest: int, body: bytes) -> bytes:
    """Decompress a body.

    Args:
        decompressor: Makes a decompressor with the interface of `lzma.LZMADecompressor`.
        largest: Bytes that it may have without its compression.
        body: One compressed stream.

    Returns:
        The body without its compression.

    Raises:
        InflationError: It is larger, is cut off, or something follows it. Several streams
            in a row, which nobody sends, would be another way to keep a worker busy.
        Exception: The decompressor's own, about content that it cannot read.
    """
    stream = decompressor()
    plain: bytes = stream.decompress(body, largest + 1)
    if len(plain) > largest:
        raise InflationError(f"its body is larger than {largest} bytes without its compression")
    if not stream.eof or stream.unused_data:
        raise InflationError("its body is not one whole compressed stream")
    return plain


def _zstd() -> Any:  # noqa: ANN401 - of a module that need not be there
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name).ZstdDecompressor()


# Kombu's names, of which the first is zlib's format.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": partial(lzma.LZMADecompressor, memlimit=_LZMA_MEMORY),
    "application/zstd": _zstd,
}
