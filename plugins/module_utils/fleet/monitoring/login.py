"""Logins of the pages: the file by which nginx asks who somebody is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

SALT_BYTES = 8


def htpasswd(passwords: Mapping[str, str]) -> str:
    """Write nginx's file of logins, with salted hashes in place of passwords.

    The salt follows from name and password, so that the same logins make the same file. The kit makes the
    passwords, at random and too long to be guessed, so that a fast hash does.

    Args:
        passwords: The password of each who may come in, by name.

    Returns:
        A line for each.
    """
    lines = []
    for name, password in passwords.items():
        salt = hashlib.sha256(f"{name}\0{password}".encode()).digest()[:SALT_BYTES]
        digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324 - a kind that nginx knows
        lines.append(f"{name}:{{SSHA}}{base64.b64encode(digest + salt).decode()}")
    return "".join(f"{line}\n" for line in lines)
