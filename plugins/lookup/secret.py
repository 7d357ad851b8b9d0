"""Lookup of one of the environment's secrets, made when it is asked for the first time."""

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
short_description: Secrets of this environment, made once
description:
  - Reads secrets from a YAML file on the controller, and makes those that are missing.
  - The file is encrypted if Ansible was given a vault secret, and in any case readable for its owner alone.
  - In check mode nothing is written; a secret that is missing has another value each time.
options:
  _terms:
    description: Names of secrets.
    required: true
  file:
    description: The file.
    type: path
    required: true
  default:
    description: What stands for a secret that is missing; without it, it is made.
    type: str
  upcoming:
    description: Whether a secret that is about to replace another one is given instead of it.
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
    """Reads secrets, and makes those that are missing."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: object
    ) -> list[str | None]:
        """Give the secrets of these names."""
        self.set_options(var_options=variables, direct=options)
        file = secret_file(self.get_option("file"), self._loader)
        try:
            if self.get_option("default") is None and not (variables or {}).get("ansible_check_mode"):
                file.ensure(terms)
            found = [file.value(name, upcoming=self.get_option("upcoming")) for name in terms]
        except (SecretsError, OSError) as error:
            raise AnsibleLookupError(str(error)) from error
        default = self.get_option("default")
        return [(generate() if default is None else default) if each is None else each for each in found]
