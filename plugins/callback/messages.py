"""Standard output that holds what a playbook shows, and nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import harmless

DOCUMENTATION = """
name: messages
type: stdout
short_description: Standard output that holds what a playbook shows, and nothing else
description:
  - Prints the messages of C(ansible.builtin.debug) as they are, without names of plays and tasks, so that
    they can be read on one screen or piped to another program. Failures go to standard error.
version_added: 0.1.0
author: celery-fleet
options: {}
"""


class CallbackModule(CallbackBase):
    """Print messages only."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "celery_fleet.kit.messages"

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - Ansible's
        """Print the message of a task that shows something."""
        if result._task.action in ("debug", "ansible.builtin.debug"):
            message = result._result.get("msg", "")
            print(harmless(message) if isinstance(message, str) else json.dumps(message, indent=2))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401 - Ansible's
        """Print why a task failed."""
        about = f"{result._host.get_name()}: {result._task.get_name()}"
        print(harmless(f"{about}: {result._result.get('msg', 'failed')}"), file=sys.stderr)
