"""Lookup of the environment's secrets."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.secret_file import (
    SecretsError,
    generate,
)
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.site_vault import secret_file

DOCUMENTATION = r"""
name: secret
author: celery-fleet
version_added: 0.1.0
short_description: Secrets of this environment
description:
  - Reads secrets from a YAML file on the controller. M(celery_fleet.kit.secrets) makes them.
  - A secret that is missing is an error; in check mode, which makes none, it has another value each time.
options:
  _terms:
    description: Names of secrets.
    required: true
  file:
    description: The file.
    type: path
    required: true
  default:
    description: Value of a secret that is missing.
    type: str
    vars:
      - name: fleet_missing_secret
  upcoming:
    description: Whether a prepared secret is returned instead of the one that it will replace.
    type: bool
    default: false
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    example_password: "{{ lookup('celery_fleet.kit.secret', 'client', file=fleet_vault_file) }}"
"""

RETURN = r"""
_raw:
  description: The secrets, in the order of their names.
  type: list
  elements: str
"""


class LookupModule(LookupBase):
    """Reads secrets."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: object
    ) -> list[str | None]:
        """Return the secrets of these names."""
        self.set_options(var_options=variables, direct=options)
        file = secret_file(self.get_option("file"), self._loader)
        default = self.get_option("default")
        try:
            values = [file.value(name, upcoming=self.get_option("upcoming")) for name in terms]
        except (SecretsError, OSError) as error:
            raise AnsibleLookupError(str(error)) from error
        missing = [name for name, value in zip(terms, values, strict=True) if value is None]
        made_up = bool((variables or {}).get("ansible_check_mode"))
        if missing and default is None and not made_up:
            raise AnsibleLookupError(
                f"There is no secret {', '.join(missing)} in {file.path}: run site.yml or broker.yml first, "
                "or restore the file from a backup."
            )
        return [
            (generate() if default is None else default) if found_value is None else found_value
            for found_value in values
        ]
