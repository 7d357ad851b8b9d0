"""When a certificate ends, read from its file with the standard library alone."""

from __future__ import annotations

import calendar
import ssl
import time
from typing import Final

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


class CertificateError(Exception):
    """A file holds no certificate."""


def ends(pem: str) -> float:
    """Return when the first of a file's certificates to end does.

    Args:
        pem: What the file holds: certificates, and perhaps a key.

    Returns:
        Seconds since the epoch.

    Raises:
        CertificateError: It holds none, or one that cannot be read.
    """
    blocks = [_BEGIN + part.partition(_END)[0] + _END for part in pem.split(_BEGIN)[1:]]
    try:
        return min(map(_end, map(ssl.PEM_cert_to_DER_cert, blocks)))
    except (ValueError, IndexError) as error:
        raise CertificateError(str(error)) from error


def _end(der: bytes) -> float:
    """Read RFC 5280: the certificate, in it what was signed, in that serial, algorithm, issuer, validity."""
    _, certificate, _ = _element(der)
    _, signed, _ = _element(certificate)
    tag, _, rest = _element(signed)
    before = 3 if tag == _VERSION else 2
    for _ in range(before):
        _, _, rest = _element(rest)
    tag, validity, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("no certificate")
    _, _, rest = _element(validity)
    tag, moment, _ = _element(rest)
    text = moment.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split off the first element: its tag, its content, and what follows it."""
    length, start = data[1], 2
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("it is cut off")
    return data[0], data[start : start + length], data[start + length :]
