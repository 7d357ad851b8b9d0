"""How a host tells the environment's file of secrets from others: by a hash of the random id that is in it.

Brokers, and hosts that an earlier version of the kit installed, have no such hash; the secrets that they have
stand for it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

# Where the role app keeps the hash.
MARK: Final = "etc/celery-fleet/vault_id"
PASSWORDS: Final = "etc/celery-fleet/secrets"
COOKIE: Final = "var/lib/rabbitmq/.erlang.cookie"
# Without it the cookie is that of the distribution's package.
BROKER: Final = "etc/rabbitmq/conf.d/10-celery-fleet.conf"
LARGEST: Final = 4096
# Passwords that a site chose itself may be guessed. A run hashes only those of hosts without a mark.
ROUNDS: Final = 10_000
_NEWER_IS_KEPT: Final = """\
[ -e "$1" ] || exit 0
awk 'NR == FNR { hash = $1; own = $2; next }
  $1 == hash && own + 0 > $2 + 0 { exit 1 }
  $1 == hash && own + 0 == $2 + 0 && own ~ /[.]/ && own != $2 { exit 1 }' "$1" "$2" && exit 0
echo "another controller has replaced the passwords of this host: take its file of secrets" >&2
exit 1
"""


def mark(vault_id: str) -> str:
    """Return what hosts keep of a file's id.

    Args:
        vault_id: The id: random letters and digits, ``-``, how often the passwords were replaced, and a
            random word of the last time.

    Returns:
        A hash of the random part, which is too long to be guessed; the number and the word.
    """
    random, _, generation = vault_id.partition("-")
    return f"{hashlib.sha256(f'celery-fleet vault {random}'.encode()).hexdigest()} {generation}"


def newer_is_kept(path: str) -> list[str]:
    """Return a command by which a host refuses a mark, and with it passwords, that are older than its own.

    So the run of a controller that began before another one replaced the passwords does not bring back the
    old ones.

    Args:
        path: The mark on the host.
    """
    return ["sh", "-c", _NEWER_IS_KEPT, "mark", path]


def salted(secret: str, salt: str) -> str:
    """Return the form in which a host reports a secret.

    Args:
        secret: The secret.
        salt: Random letters and digits.

    Returns:
        The salt and a slow hash.
    """
    return f"{salt}${hashlib.pbkdf2_hmac('sha256', secret.encode(), salt.encode(), ROUNDS).hex()}"


def look(root: Path = Path("/")) -> dict[str, Any] | None:
    """Read what a host keeps of the file of secrets.

    Args:
        root: Where the host's files are.

    Returns:
        Its ``mark``; if there is none, salted hashes of its ``secrets`` by their names. None if this user
        may not read them.
    """
    try:
        stored = _text(root / MARK)
        values = {} if stored else dict(_secrets(root))
    except PermissionError:
        return None
    salt = secrets.token_hex(16)
    return {"mark": stored, "secrets": {name: salted(value, salt) for name, value in values.items()}}


def strangers(
    vault_id: str | None, expected: Mapping[str, set[str]], hosts: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, str]:
    """Find hosts that have the secrets of another file.

    Args:
        vault_id: The id of the environment's file.
        expected: What the environment has of each secret that it needs; nothing if that is missing.
        hosts: What `look` returned, by host; empty if it was not called.

    Returns:
        For each host that is not to be changed the reason.
    """
    reasons = {}
    for host, report in hosts.items():
        why = "is not readable without root's rights" if report is None else _why(vault_id, expected, report)
        if why:
            reasons[host] = why
    return reasons


def _why(vault_id: str | None, expected: Mapping[str, set[str]], report: Mapping[str, Any]) -> str:
    """Return how a host differs; empty if it does not."""
    own, _, own_generation = mark(vault_id).partition(" ") if vault_id else ("", "", "")
    name, _, generation = (report.get("mark") or "").partition(" ")
    if name not in ("", own):
        return "has the secrets of another file"
    number, _, replacement = generation.partition(".")
    own_number, _, own_replacement = own_generation.partition(".")
    if number.isdecimal() and int(number) > int(own_number):
        return "has newer passwords"
    if number == own_number and replacement not in ("", own_replacement):
        return "has passwords that another controller made at the same time"
    # A secret that is not needed any more may be in no file.
    for name, hashed in (report.get("secrets") or {}).items():
        salt = hashed.partition("$")[0]
        if name in expected and hashed not in {salted(value, salt) for value in expected[name]}:
            return f"has another {name}" if expected[name] else f"has {name}, which the file lacks"
    return ""


def _secrets(root: Path) -> Iterator[tuple[str, str]]:
    directory = root / PASSWORDS
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        # While passwords are replaced, the one before is there, too.
        if not path.name.endswith(".previous") and (text := _text(path)):
            yield path.name, text
    if (root / BROKER).exists() and (text := _text(root / COOKIE)):
        yield "erlang_cookie", text


def _text(path: Path) -> str:
    """Read a small file; nothing if there is none, or if it is a link or no plain file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        raise
    except OSError:
        return ""
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        return file.read(LARGEST).decode(errors="replace").strip()
