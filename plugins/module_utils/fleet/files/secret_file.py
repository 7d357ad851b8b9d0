"""An environment's secrets: one YAML file on the controller, encrypted if the site has a vault.

Every value is a text under its name. While passwords are exchanged, `next` holds the new ones beside those
that are in force, and then `exchanged` says whose files on the hosts are still to be tidied.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import string
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from ..model.plain import plain

NEXT: Final = "next"
EXCHANGED: Final = "exchanged"
HEADER: Final = "# Secrets of this environment, made by celery-fleet. Whoever has this file has the fleet.\n"
LENGTH: Final = 40
Content = dict[str, Any]


class SecretsError(Exception):
    """The file of secrets can't be used as it is."""


class Vault(Protocol):
    """How the file is encrypted."""

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt, or give what was given if the site has no vault."""

    def decrypt(self, content: bytes) -> bytes:
        """Decrypt what is encrypted; raise SecretsError if that can't be done."""


class SecretFile:
    """The file, read once for as long as it stays the same."""

    _read: dict[Path, tuple[tuple[int, ...], Content]] = {}  # noqa: RUF012 - shared on purpose: a play reads it often

    def __init__(self, path: Path, vault: Vault) -> None:
        """Remember where it is; nothing is read.

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
            SecretsError: It can't be decrypted, or is not what it should be.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return {}
        state = (found.st_mtime_ns, found.st_ino, found.st_size)
        known = self._read.get(self.path)
        if known is None or known[0] != state:
            try:
                content = yaml.safe_load(self._vault.decrypt(self.path.read_bytes())) or {}
            except yaml.YAMLError as error:
                # Its words would show what is in the file.
                raise SecretsError(f"{self.path} is not YAML.") from error
            if not isinstance(content, dict):
                raise SecretsError(f"{self.path} is not a mapping of names to texts.")
            known = self._read[self.path] = (state, content)
        return dict(known[1])

    def value(self, name: str, *, upcoming: bool = False) -> str | None:
        """Give one secret.

        Args:
            name: Its name.
            upcoming: Whether one that is to replace it is preferred.

        Returns:
            The secret; none if there is none.

        Raises:
            SecretsError: The file can't be used, or the value is not a text.
        """
        content = self.read()
        found = (content.get(NEXT) or {}).get(name) if upcoming else None
        found = content.get(name) if found is None else found
        if found is not None and not isinstance(found, str):
            raise SecretsError(f"{name} in {self.path} is not a text; put it in quotes.")
        return found

    @contextmanager
    def edit(self) -> Iterator[Content]:
        """Give the content to change, alone among all processes, and write it if it changed.

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
                self._write(content)
        finally:
            os.close(lock)

    def ensure(self, names: Iterable[str]) -> None:
        """Make those of these secrets that are missing.

        Args:
            names: Their names.

        Raises:
            SecretsError: The file can't be used.
        """
        wanted = list(names)
        if all(name in self.read() for name in wanted):
            return
        with self.edit() as content:
            content.update({name: generate() for name in wanted if name not in content})

    def _write(self, content: Content) -> None:
        try:
            # Ansible's texts carry tags, which YAML does not know.
            text = HEADER + yaml.safe_dump(plain(content), width=10_000)
        except yaml.YAMLError:
            # Its words would show what was to be written.
            raise SecretsError(f"What is to be kept in {self.path} is not made of texts.") from None
        # A file of its own (mode 0600) that takes the other's place at once.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._vault.encrypt(text.encode()))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def generate() -> str:
    """Make a secret that needs no quoting anywhere.

    Returns:
        Letters and digits.
    """
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(LENGTH))


def prepare(content: Mapping[str, Any], names: Iterable[str], make: Callable[[], str] = generate) -> Content:
    """Put new secrets beside the old ones, unless an exchange is under way: that one is finished first.

    Args:
        content: The file's content.
        names: Secrets to exchange.
        make: Makes a secret.

    Returns:
        The content afterwards.
    """
    if content.get(NEXT) or content.get(EXCHANGED):
        return dict(content)
    return {**content, NEXT: {name: make() for name in names}}


def exchange(content: Mapping[str, Any]) -> Content:
    """Let the new secrets be those in force.

    Args:
        content: The file's content.

    Returns:
        The content afterwards.
    """
    upcoming = content.get(NEXT)
    if not upcoming:
        return dict(content)
    kept = {name: value for name, value in content.items() if name != NEXT}
    return {**kept, **upcoming, EXCHANGED: sorted(upcoming)}


def finish(content: Mapping[str, Any]) -> Content:
    """Forget that there was an exchange.

    Args:
        content: The file's content.

    Returns:
        The content afterwards.
    """
    return {name: value for name, value in content.items() if name != EXCHANGED}
