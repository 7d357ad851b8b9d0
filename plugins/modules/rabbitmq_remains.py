#!/usr/bin/python
"""Read what keeps a former broker of the fleet from being stopped."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.api import BrokerError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.counts import counter
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.remains import remains

DOCUMENTATION = r"""
module: rabbitmq_remains
short_description: Read what keeps a former broker of the fleet from being stopped
description:
  - Messages and consumers of its queues, exactly, and who is connected.
  - Runs C(rabbitmqctl) on a node of the cluster, so it needs root and no password. Changes nothing.
options:
  vhost:
    description: The fleet's vhost.
    type: str
    required: true
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Read what is left at the old broker
  celery_fleet.kit.rabbitmq_remains:
    vhost: celery_fleet
"""

RETURN = r"""
queues:
  description: What each queue holds that is not empty and unused.
  type: dict
  returned: success
sentences:
  description: All that is left, for a person; empty if the broker may be stopped.
  type: list
  elements: str
  returned: success
"""

ARGUMENTS: dict[str, dict[str, Any]] = {"vhost": {"type": "str", "required": True}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    vhost = module.params["vhost"]

    def listed(*arguments: str) -> list[dict[str, Any]]:
        argv = ["rabbitmqctl", "--quiet", "--formatter", "json", *arguments]
        rows: list[dict[str, Any]] = json.loads(module.run_command(argv, check_rc=True)[1])
        return rows

    names = [each["name"] for each in listed("list_queues", "--vhost", vhost, "name")]
    connections = listed("list_connections", "user", "peer_host", "vhost")
    try:
        held = counter(lambda argv: module.run_command(argv), vhost)(names)
    except BrokerError as error:
        module.fail_json(msg=str(error))
    left = remains(held, connections, vhost)
    module.exit_json(changed=False, queues=dict(left.queues), sentences=left.sentences)


if __name__ == "__main__":
    main()
