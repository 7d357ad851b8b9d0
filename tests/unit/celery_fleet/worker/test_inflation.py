"""Bodies that inflate: small ones as ever, large ones to no more than the limit."""

from __future__ import annotations

import lzma
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import compression

from celery_fleet.worker.inflation import InflationError, limit_decompression

LARGEST = 16 * 1024**2
# All that this Python has; brotli is never installed here.
METHODS = compression.encoders()


@pytest.fixture(autouse=True, scope="module")
def limited() -> Iterator[None]:
    """As a worker's process is; the other tests find what they left."""
    before = dict(compression._decoders)
    limit_decompression(LARGEST)
    yield
    compression._decoders.update(before)


def test_kombu_has_the_methods_of_the_standard_library() -> None:
    assert {"application/x-gzip", "application/x-bz2", "application/x-lzma"} <= set(METHODS)


@pytest.mark.parametrize("alias", ["gzip", "zlib", "bzip2", "lzma", "xz"])
@given(body=st.binary())
def test_what_kombu_compresses_comes_back(alias: str, body: bytes) -> None:
    compressed, _ = compression.compress(body, alias)
    assert compression.decompress(compressed, alias) == body


@pytest.mark.parametrize("method", METHODS)
def test_a_body_of_the_largest_size_is_let_in_and_one_byte_more_is_not(method: str) -> None:
    whole, _ = compression.compress(bytes(LARGEST), method)
    assert len(compression.decompress(whole, method)) == LARGEST
    larger, _ = compression.compress(bytes(LARGEST + 1), method)
    with pytest.raises(InflationError, match="larger than"):
        compression.decompress(larger, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_bomb_takes_no_more_memory_than_the_limit(method: str) -> None:
    bomb, _ = compression.compress(bytes(8 * LARGEST), method)
    tracemalloc.start()
    try:
        with pytest.raises(InflationError, match="larger than"):
            compression.decompress(bomb, method)
        assert tracemalloc.get_traced_memory()[1] < 3 * LARGEST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", METHODS)
def test_a_body_that_is_cut_off_or_goes_on_is_refused(method: str) -> None:
    whole, _ = compression.compress(b"task" * 100, method)
    for broken in (whole[:-1], whole + whole, b""):
        with pytest.raises(InflationError, match="one whole"):
            compression.decompress(broken, method)


def test_a_dictionary_that_needs_more_memory_than_the_limit_is_refused() -> None:
    strongest = lzma.compress(b"x", preset=9 | lzma.PRESET_EXTREME)
    assert compression.decompress(strongest, "xz") == b"x"
    # To encode with such a dictionary would need gigabytes; that of this format is a number in its head.
    body = bytearray(lzma.compress(b"x", format=lzma.FORMAT_ALONE))
    body[1:5] = (512 * 1024**2).to_bytes(4, "little")
    with pytest.raises(lzma.LZMAError, match=r"(?i)memory"):
        compression.decompress(bytes(body), "lzma")


def test_what_is_no_stream_is_the_decompressor_s_error() -> None:
    with pytest.raises(zlib.error):
        compression.decompress(b"no stream", "gzip")
