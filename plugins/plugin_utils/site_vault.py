"""The file of secrets, encrypted with Ansible's vault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 - as Ansible calls it
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted, match_encrypt_secret
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.secret_file import (
    SecretFile,
    SecretsError,
)


class SiteVault:
    """Encrypts with the vault secret of `ansible-playbook`, if there is one."""

    def __init__(self, library: VaultLib) -> None:
        self._library = library

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt, or return the text as it is if there is no vault secret."""
        if not self._library.secrets:
            return plain
        identity, secret = match_encrypt_secret(self._library.secrets, C.DEFAULT_VAULT_ENCRYPT_IDENTITY)
        encrypted: bytes = self._library.encrypt(plain, secret, identity)
        return encrypted

    def decrypt(self, content: bytes) -> bytes:
        """Decrypt what is encrypted."""
        if not is_encrypted(content):
            return content
        if not self._library.secrets:
            raise SecretsError(
                "it is encrypted, and no vault password was given: use "
                "--ask-vault-pass, --vault-password-file or ANSIBLE_VAULT_PASSWORD_FILE."
            )
        try:
            plain: bytes = self._library.decrypt(content)
        except AnsibleError as error:
            raise SecretsError(
                "this vault password does not decrypt it: give the one with which it was encrypted."
            ) from error
        return plain


def secret_file(path: str, loader: Any) -> SecretFile:  # noqa: ANN401 - Ansible's DataLoader
    """Return the file of secrets at a path.

    Args:
        path: Where it is, or will be.
        loader: The loader of the plugin that asks, which has the vault's secrets.

    Returns:
        The file.
    """
    return SecretFile(Path(path), SiteVault(loader._vault))
