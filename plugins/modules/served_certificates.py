#!/usr/bin/python
"""Read the certificates that servers show to a host that connects to them."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: served_certificates
short_description: Read the certificates that servers show to a host that connects to them
description:
  - Connects to all of them at once, and sends nothing. One that has ended is read, too.
options:
  servers:
    description: Of each server its C(address), its C(port), and what else the caller wants to find again.
    type: list
    elements: dict
    required: true
  timeout:
    description: Seconds within which a server must show its certificate.
    type: int
    default: 5
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read the brokers' certificates
  celery_fleet.kit.served_certificates:
    servers: [{name: broker-1, address: 10.0.0.11, port: 5671}]
"""

RETURN = r"""
servers:
  description: O(servers), each with its C(pem), or the C(error) that it shows none.
  type: list
  elements: dict
  returned: always
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "servers": {"type": "list", "elements": "dict", "required": True},
    "timeout": {"type": "int", "default": 5},
}


def shown(server: dict[str, Any], timeout: int) -> dict[str, Any]:
    """Return a server with the certificate that it shows."""
    try:
        pem = ssl.get_server_certificate((server["address"], int(server["port"])), timeout=timeout)
    except (OSError, ValueError) as error:
        return {**server, "error": str(error)}
    return {**server, "pem": pem}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    servers, timeout = module.params["servers"], module.params["timeout"]
    with ThreadPoolExecutor(max_workers=16) as executor:
        found = list(executor.map(lambda server: shown(server, timeout), servers))
    module.exit_json(changed=False, servers=found)


if __name__ == "__main__":
    main()
