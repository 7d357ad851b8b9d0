"""Action that makes the archive of a release, on the controller."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.bundle import Application, make_bundle
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import Findings, report
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.indexes import INDEXES
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.lock.types import wanted_of
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.source.tree import some

ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "name": {"type": "str", "required": True},
    "source": {
        "type": "dict",
        "required": True,
        "options": {
            "type": {"type": "str", "required": True, "choices": ["directory", "git", "package"]},
            "path": {"type": "path"},
            "url": {"type": "str"},
            "version": {"type": "str"},
            "requirement": {"type": "str"},
            "subdirectory": {"type": "str"},
            "include": {"type": "list", "elements": "str"},
            "exclude": {"type": "list", "elements": "str"},
            "key": {"type": "str", "no_log": True},
            "known_hosts": {"type": "str"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
        },
        "required_if": [
            ["type", "directory", ["path"]],
            ["type", "git", ["url", "version"]],
            ["type", "package", ["requirement"]],
        ],
    },
    "requirements": {"type": "str", "required": True},
    "groups": {"type": "list", "elements": "str"},
    "extras": {"type": "list", "elements": "str"},
    "hashes": {"type": "bool"},
    "sdists": {"type": "list", "elements": "str"},
    "indexes": INDEXES,
    "python": {"type": "str", "required": True},
    "install": {"type": "raw", "default": "auto"},
    "files": {"type": "dict", "default": {}},
    "working_directory": {"type": "str", "default": ""},
    "autoconfigure": {"type": "str", "default": ""},
    "accepted": {"type": "dict", "default": {}},
    "look": {"type": "bool", "default": False},
    "kit": {"type": "path", "required": True},
    "builders": {"type": "path", "required": True},
    "cache": {"type": "path", "required": True},
}


class ActionModule(ActionBase):
    """Writes nothing but the cache, so it never reports a change."""

    _requires_connection = False
    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        validated, arguments = self.validate_argument_spec(ARGUMENTS)
        # Ansible has closed it in this process, and pip asks whether it is a terminal when it is imported.
        sys.stdin = os.fdopen(0, closefd=False)
        findings = Findings(arguments["accepted"])
        install = arguments["install"]
        bundle = make_bundle(
            Application(
                arguments["name"],
                arguments["source"],
                wanted_of(arguments),
                install if install == "auto" else boolean(install),
                arguments["autoconfigure"],
                arguments["files"],
                arguments["working_directory"],
                arguments["indexes"] or (),
            ),
            Path(arguments["kit"]),
            Path(arguments["builders"]),
            Path(arguments["cache"]),
            findings,
        )
        # Ansible does so for modules only: what git or an index says may repeat a password.
        secrets = validated._no_log_values
        if findings.errors and not arguments["look"]:
            raise AnsibleActionFail(
                remove_values(f"The application cannot be released.\n{report(findings)}", secrets)
            )
        if bundle.left_out:
            Display().warning(
                f"Not in release {bundle.release}: {some(bundle.left_out)}; what it needs of them belongs "
                "into fleet_app.source.include"
            )
        found: dict[str, Any] = remove_values(
            {
                "findings": [asdict(finding) for finding in findings],
                "versions": dict(bundle.versions),
                "requires_python": bundle.requires_python,
                "release": bundle.release,
                "archive": str(bundle.archive or ""),
                "lock": str(bundle.lock or ""),
            },
            secrets,
        )
        return result | {"changed": False} | found
