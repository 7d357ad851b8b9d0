"""Messages whose properties or key cannot be decoded, which would end the connection of their receiver.

py-amqp decodes both while it reads frames, where an error ends the process or, again and again, the
connection with everything that came over it. Here such a message arrives without them, and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Any

from amqp import spec
from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import loads

# The header of a message whose own properties could not be decoded: why.
UNREADABLE = "fleet_unreadable"

_METHOD, _HEADER = 1, 2
_PREFIX = 12  # class, weight and size of the body

Frame = tuple[int, int, bytes]


def tolerant_frame_handler(connection: Any, callback: Callable[..., object]) -> Callable[[Frame], object]:  # noqa: ANN401 - py-amqp has no types
    """Make py-amqp's handler of frames, which is given only what it can decode.

    Args:
        connection: The connection.
        callback: Called with each method.

    Returns:
        What is called with each frame.
    """
    handle = frame_handler(connection, callback)

    def on_frame(frame: Frame) -> object:
        kind, channel, content = frame
        if kind == _HEADER:
            return handle((kind, channel, readable_header(content)))
        if kind == _METHOD and unpack_from(">HH", content, 0) == spec.Basic.Deliver:
            return handle((kind, channel, readable_delivery(content)))
        return handle(frame)

    return on_frame


def readable_header(content: bytes) -> bytes:
    """Replace the properties of a message if they cannot be decoded.

    Args:
        content: A frame with the header of a message.

    Returns:
        The same, or one whose only property is the header that says why.
    """
    try:
        _try(content)
    except Exception as error:  # what the bytes of strangers raise in a decoder
        replacement = Message(application_headers={UNREADABLE: f"{type(error).__name__}: {error}"[:500]})
        properties: bytes = replacement._serialize_properties()
        return bytes(content[:_PREFIX]) + properties
    return content


def readable_delivery(content: bytes) -> bytes:
    """Replace what is no UTF-8 in the routing key of a delivery.

    Args:
        content: A frame with the method `basic.deliver`.

    Returns:
        The same, or one with question marks in the key.
    """
    try:
        loads("sLbss", content, 4)
    except UnicodeDecodeError:
        _, offset = loads("sLbs", content, 4)
        key = content[offset + 1 :]
        return bytes(content[: offset + 1]) + bytes(byte if byte < 128 else ord("?") for byte in key)
    return content


def _try(content: bytes, calls: int = 8) -> None:
    # From further down than py-amqp, so that what is nested as deep as Python allows fails here.
    if calls:
        _try(content, calls - 1)
    else:
        Message()._load_properties(unpack_from(">H", content, 0)[0], content, _PREFIX)
