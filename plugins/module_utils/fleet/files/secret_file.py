"""An environment's secrets: one YAML file on the controller, encrypted if the site has a vault.

Every value is a text under its name. While passwords are exchanged, `next` holds the new ones beside those
that are in force, and then `exchanged` says whose files on the hosts are still to be tidied. `vault_id` is
the last entry, so that a file that was cut short has none; hosts know the file by it (vault_id.py).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from ..model.plain import plain

NEXT: Final = "next"
EXCHANGED: Final = "exchanged"
ID: Final = "vault_id"
COMPLETE: Final = "# Complete only with its last line, vault_id. Keep a backup: docs/concepts/secrets.md.\n"
HEADER: Final = (
    "# Secrets of this environment, made by celery-fleet. Whoever has this file has the fleet.\n" + COMPLETE
)
LENGTH: Final = 40
# A site's own secrets may be shorter than the kit's, and no shorter than this.
SHORTEST: Final = 16
_ID: Final = re.compile(rf"[A-Za-z0-9]{{{LENGTH}}}-[1-9][0-9]*(\.[A-Za-z0-9]{{8}})?")
RESTORE: Final = "Restore it from a backup; see docs/concepts/secrets.md."
Content = dict[str, Any]


class SecretsError(Exception):
    """The file of secrets can't be used as it is."""


class Vault(Protocol):
    """How the file is encrypted."""

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt, or return the text as it is if the site has no vault."""

    def decrypt(self, content: bytes) -> bytes:
        """Decrypt what is encrypted; raise SecretsError if that can't be done."""


class SecretFile:
    """The file, read once for as long as it stays the same."""

    _read: dict[Path, tuple[tuple[int, ...], Content]] = {}  # noqa: RUF012 - shared on purpose: a play reads it often

    def __init__(self, path: Path, vault: Vault) -> None:
        """Store the path; nothing is read.

        Args:
            path: The file, which need not be there yet.
            vault: How it is encrypted.
        """
        self.path = path
        self._vault = vault

    def read(self) -> Content:
        """Read it.

        Returns:
            Its content; empty if it isn't there.

        Raises:
            SecretsError: It can't be decrypted, others may read it, or it is malformed.
        """
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return {}
        if stat.S_ISLNK(status.st_mode):
            raise SecretsError(
                f"{self.path} is a symbolic link, which the next change would replace: "
                "let fleet_vault_file name the file itself."
            )
        if not stat.S_ISREG(status.st_mode):
            raise SecretsError(f"{self.path} is not a file. {RESTORE}")
        state = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
        cached = self._read.get(self.path)
        if cached is None or cached[0] != state:
            raw = self.path.read_bytes()
            text = self._decrypted(raw)
            if text == raw and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SecretsError(
                    f"{self.path} is not encrypted, and other users may read it: chmod 600 {self.path}, "
                    "and replace the passwords if anybody did (rotate_passwords.yml)."
                )
            cached = self._read[self.path] = (state, _parse(text, self.path))
        return dict(cached[1])

    def _decrypted(self, raw: bytes) -> bytes:
        try:
            return self._vault.decrypt(raw)
        except SecretsError as error:
            raise SecretsError(f"{self.path}: {error}") from error

    def value(self, name: str, *, upcoming: bool = False) -> str | None:
        """Return one secret.

        Args:
            name: Its name.
            upcoming: Whether one that is to replace it is preferred.

        Returns:
            The secret; none if there is none.

        Raises:
            SecretsError: The file can't be used.
        """
        content = self.read()
        next_value: str | None = (content.get(NEXT) or {}).get(name) if upcoming else None
        return next_value or content.get(name)

    @contextmanager
    def edit(self) -> Iterator[Content]:
        """Yield the content to change, locked against all other processes, and write it if it changed.

        Raises:
            SecretsError: The file can't be used.
        """
        directory = self.path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            content = dict(before)
            yield content
            if content != before:
                content.setdefault(ID, new_id())
                self._write(content)
        finally:
            os.close(lock)

    def _write(self, content: Content) -> None:
        entries = [{name: value for name, value in content.items() if name != ID}, {ID: content[ID]}]
        try:
            # Ansible's texts carry tags, which YAML does not know.
            text = HEADER + "".join(yaml.safe_dump(plain(part), width=10_000) for part in entries if part)
        except yaml.YAMLError:
            # Its message would show the content.
            raise SecretsError(f"The content for {self.path} has a value that is not text.") from None
        # A file of its own that takes the other's place at once. A killed process may have left one.
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._vault.encrypt(text.encode()))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            self._sync_directory()
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def _sync_directory(self) -> None:
        """Write the file's new place to disk: hosts get the new secrets next, and nobody else has them."""
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _parse(text: bytes, path: Path) -> Content:
    """Return the entries of the file; an error never shows one."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise SecretsError(f"{path} is not YAML. {RESTORE}") from None
    if content is None or content in ("", {}):
        raise SecretsError(f"{path} is empty. {RESTORE} If this environment is new, remove it.")
    if not isinstance(content, dict):
        raise SecretsError(f"{path} is not a mapping of names to texts. {RESTORE}")
    vault_id = content.get(ID)
    if vault_id is None and COMPLETE.encode() not in text:
        pass  # Written by a site, or by an earlier version.
    elif not isinstance(vault_id, str) or not _ID.fullmatch(vault_id) or not text.endswith(b"\n"):
        raise SecretsError(f"{path} was cut short: it does not end with its line {ID}. {RESTORE}")
    upcoming, exchanged = content.get(NEXT, {}), content.get(EXCHANGED, [])
    if not isinstance(upcoming, dict) or not isinstance(exchanged, list):
        raise SecretsError(f"{NEXT} or {EXCHANGED} in {path} is not what the kit writes. {RESTORE}")
    current = {name: value for name, value in content.items() if name not in (NEXT, EXCHANGED)}
    for name, value in [*current.items(), *upcoming.items(), *((user, user) for user in exchanged)]:
        if not isinstance(name, str):
            raise SecretsError(f"A name in {path} is not a text; put it in quotes.")
        if value is None or value == "":
            raise SecretsError(
                f"{name} in {path} is empty: give its value, or restore the file from a backup."
            )
        if not isinstance(value, str):
            raise SecretsError(f"{name} in {path} is not a text; put it in quotes.")
    return content


def generate() -> str:
    """Make a secret that needs no quoting anywhere.

    Returns:
        Letters and digits.
    """
    return _random(LENGTH)


def _random(length: int) -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(length))


def short(values: Mapping[str, str]) -> str:
    """Name the secrets that are too short to be kept from whoever tries them all, with their lengths.

    Args:
        values: Secrets by name; those that are missing are empty.
    """
    return ", ".join(
        f"{name} ({len(value)})" for name, value in sorted(values.items()) if 0 < len(value) < SHORTEST
    )


def new_id() -> str:
    """Make the id of a file.

    Returns:
        Random letters and digits, and how often its passwords were replaced.
    """
    return f"{generate()}-1"


def make(content: Mapping[str, Any], names: Iterable[str], generate: Callable[[], str] = generate) -> Content:
    """Add the secrets that are missing, and the file's id.

    Args:
        content: The file's content.
        names: Their names.
        generate: Makes a secret.

    Returns:
        The content afterwards.
    """
    missing = {name: generate() for name in names if name not in content}
    return {ID: new_id(), **content, **missing}


def prepare(
    content: Mapping[str, Any], names: Iterable[str], generate: Callable[[], str] = generate
) -> Content:
    """Add new secrets beside the old ones, unless an exchange is under way: that one is finished first.

    Args:
        content: The file's content.
        names: Secrets to exchange.
        generate: Makes a secret.

    Returns:
        The content afterwards.
    """
    if content.get(NEXT) or content.get(EXCHANGED):
        return dict(content)
    random, _, generation = str(content.get(ID) or new_id()).partition("-")
    # By the random part a host tells two files apart in which two controllers replaced the passwords at once.
    following = f"{int(generation.partition('.')[0]) + 1}.{_random(8)}"
    return {**content, NEXT: {name: generate() for name in names}, ID: f"{random}-{following}"}


def exchange(content: Mapping[str, Any]) -> Content:
    """Put the new secrets in force.

    Args:
        content: The file's content.

    Returns:
        The content afterwards.
    """
    upcoming = content.get(NEXT)
    if not upcoming:
        return dict(content)
    current = {name: value for name, value in content.items() if name != NEXT}
    return {**current, **upcoming, EXCHANGED: sorted(upcoming)}


def finish(content: Mapping[str, Any]) -> Content:
    """Remove the record of an exchange.

    Args:
        content: The file's content.

    Returns:
        The content afterwards.
    """
    return {name: value for name, value in content.items() if name != EXCHANGED}
