#!/usr/bin/python
"""Documentation of the action of the same name, which does the work on the controller."""

DOCUMENTATION = r"""
module: secrets
short_description: Change the environment's secrets
description:
  - Changes the YAML file that the lookup P(celery_fleet.kit.secret#lookup) reads, on the controller.
  - The file is replaced at once or not at all, and encrypted if Ansible has a vault secret.
options:
  file:
    description: The file.
    type: path
    required: true
  make:
    description:
      - Secrets that are needed, by name; those without a value are made, and the file's id with them.
      - Hosts that have the secrets of another file are refused before.
    type: dict
  hosts:
    description: For each host the C(fleet_vault) of M(celery_fleet.kit.host_facts); empty if unknown.
    type: dict
    default: {}
  files:
    description: For each host the file of its secrets. More than one file is refused.
    type: dict
    default: {}
  accept_new:
    description: Whether hosts that have the secrets of another file get those of this one.
    type: bool
    default: false
  prepare:
    description:
      - Secrets to exchange. New ones are made and kept beside those in force.
      - If an exchange is under way, nothing is done; that one is to be finished first.
    type: list
    elements: str
  exchange:
    description: Whether the prepared secrets are those in force from now on.
    type: bool
    default: false
  finish:
    description: Whether the exchange has ended.
    type: bool
    default: false
  values:
    description: Secrets to store, by name; null removes one.
    type: dict
    default: {}
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Make the secrets that are missing
  celery_fleet.kit.secrets:
    file: "{{ fleet_vault_file }}"
    make: {client: ""}

- name: Make new passwords
  celery_fleet.kit.secrets:
    file: "{{ fleet_vault_file }}"
    prepare: [client]
"""

RETURN = r"""
changed_names:
  description: Names of the entries that changed.
  type: list
  elements: str
  returned: always
upcoming:
  description: Names of the secrets that are prepared and not yet in force.
  type: list
  elements: str
  returned: always
exchanged:
  description: Names of the secrets whose exchange is not finished yet.
  type: list
  elements: str
  returned: always
"""
