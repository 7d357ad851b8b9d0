"""A small video: frames are drawn and encoded as an animated GIF, in plain Python."""

import math
import struct
from collections.abc import Iterable, Iterator

WIDTH, HEIGHT, FRAMES = 96, 72, 36
DEPTH = 6
"""Bits of a pixel; the palette has 2 ** DEPTH colours."""


def draw(seed: int, width: int = WIDTH, height: int = HEIGHT, frames: int = FRAMES) -> Iterator[bytes]:
    """Draw rings that spread from a moving point.

    Args:
        seed: Where the point starts; the same seed gives the same video.
        width: Pixels.
        height: Pixels.
        frames: How many.

    Returns:
        One palette index per pixel, row by row, for each frame.
    """
    for frame in range(frames):
        angle = seed % 360 + 2 * math.pi * frame / frames
        x0 = width / 2 * (1 + 0.5 * math.cos(angle))
        y0 = height / 2 * (1 + 0.5 * math.sin(angle))
        yield bytes(
            int(2 * math.hypot(x - x0, y - y0)) - 4 * frame & (1 << DEPTH) - 1
            for y in range(height)
            for x in range(width)
        )


def compress(pixels: bytes, depth: int = DEPTH) -> bytes:
    """Compress pixels by GIF's variable-width LZW.

    Args:
        pixels: At least one palette index, each below 2 ** depth.
        depth: Bits of a pixel, 2 to 8.
    """
    clear, end = 1 << depth, (1 << depth) + 1
    codes: dict[tuple[int, int], int] = {}
    following, width = end + 1, depth + 1
    bits, count = clear, width
    prefix = pixels[0]
    out = bytearray()
    for pixel in pixels[1:]:
        known = codes.get((prefix, pixel))
        if known is not None:
            prefix = known
            continue
        bits |= prefix << count
        count += width
        if following < 4096:
            codes[prefix, pixel] = following
            # The decoder learns each code one step later, so the width grows one code later too.
            width += following == 1 << width
            following += 1
        else:
            bits |= clear << count
            count += width
            codes.clear()
            following, width = end + 1, depth + 1
        whole = count // 8
        out += (bits & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        bits >>= 8 * whole
        count -= 8 * whole
        prefix = pixel
    bits |= prefix << count
    count += width
    width += following == 1 << width
    bits |= end << count
    count += width
    return bytes(out) + bits.to_bytes((count + 7) // 8, "little")


def encode(frames: Iterable[bytes], width: int = WIDTH, height: int = HEIGHT, delay: int = 4) -> bytes:
    """Encode frames as an animated GIF that repeats.

    Args:
        frames: Palette indices, width times height for each frame.
        width: Pixels.
        height: Pixels.
        delay: Hundredths of a second between frames.
    """
    colours = 1 << DEPTH
    palette = bytes(
        channel
        for index in range(colours)
        for channel in (
            255 * index // (colours - 1),
            abs(255 - 510 * index // (colours - 1)),
            255 - 255 * index // (colours - 1),
        )
    )
    out = bytearray(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80 | 0x70 | DEPTH - 1, 0, 0) + palette)
    out += b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    for frame in frames:
        out += b"\x21\xf9\x04" + struct.pack("<BHBB", 0, delay, 0, 0)
        out += b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + bytes([DEPTH])
        data = compress(frame)
        for start in range(0, len(data), 255):
            block = data[start : start + 255]
            out += bytes([len(block)]) + block
        out += b"\x00"
    return bytes(out + b"\x3b")
