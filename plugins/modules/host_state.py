#!/usr/bin/python
"""Put a host's groups, users, directories, files and links in place, all in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.packages import missing, unknown
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.state import (
    KINDS,
    HostState,
    StateError,
)

DOCUMENTATION = r"""
module: host_state
short_description: Put a host's groups, users, directories, files and links in place, all in one step
description:
  - One round trip to a host instead of one for each object. Compares every item with what is there, changes
    what differs, and reports each change.
  - A file is written beside its place and moved there, so that nobody reads half of it. No link is followed
    that another user may have made.
  - When a unit of systemd changed, systemd reads its units again.
  - What is in a file never reaches the host's journal; a secret is in no result and no difference either.
options:
  items:
    description:
      - The desired items, in order. The first of the keys C(file), C(directory), C(link), C(absent),
        C(record), C(user) and C(group) that an item has says what it is.
    type: list
    elements: dict
    default: []
    suboptions:
      file:
        description: Path of a file. Its content is given by C(content), C(secret), C(template) or C(source).
        type: path
      directory:
        description: Path of a directory; directories above it that are missing are made, too.
        type: path
      link:
        description: Path of a symbolic link to C(to).
        type: path
      absent:
        description: Path of what is to be removed.
        type: path
      user:
        description: Name of a system user in C(group).
        type: str
      group:
        description: Name of a system group; or the group of what the item is.
        type: str
      members:
        description: Users of the group; others are taken out of it. If left out, it keeps those that it has.
        type: list
        elements: str
      owner:
        description: Owner of a file or directory; if left out, it keeps the one that it has.
        type: str
      mode:
        description: Mode of a file or directory, as four octal digits.
        type: str
      exact:
        description: Whether files of the directory that no item names are removed.
        type: bool
        default: false
      content:
        description: Content of the file.
        type: str
      secret:
        description: Name in O(secrets) of the file's content.
        type: str
      encoding:
        description: Whether the content is given as it is, or as what C(b64encode) makes of it.
        type: str
        choices: [text, base64]
        default: text
      parents:
        description: Whether directories above a file are made if they are missing.
        type: bool
        default: false
      keeps:
        description: Which of owner, group and mode a directory that is there keeps.
        type: list
        elements: str
        choices: [owner, group, mode]
      shared:
        description: Group to which a directory that is there and belongs to it is opened, whatever it keeps.
        type: str
      own:
        description: Whether a directory is refused that something else than the kit made.
        type: bool
        default: false
      writers:
        description: Users who must be able to write in a directory.
        type: list
        elements: str
      record:
        description: Path of a file that records the paths of others; those that left C(paths) are removed.
        type: path
      paths:
        description: The paths of a record. A file that is there and was in no record is refused.
        type: list
        elements: path
      template:
        description: Template on the controller, of the role, that gives the content.
        type: str
      vars:
        description: Variables for this template alone.
        type: dict
      source:
        description: File on the controller, of the role, that holds the content.
        type: str
      block:
        description: Whether the content is only a part of the file, between two comments that mark it.
        type: bool
        default: false
      validate:
        description: Command that checks a draft of the file, which is its last argument, by the file's name.
        type: list
        elements: str
      to:
        description: Target of the link.
        type: str
      home:
        description: Home directory of the user; it is not made.
        type: str
      shell:
        description: Shell of the user.
        type: str
        default: /usr/sbin/nologin
  secrets:
    description: Contents that no result and no log may show, by name.
    type: dict
    default: {}
  packages:
    description: Packages; RV(missing_packages) lists those that are not installed.
    type: list
    elements: str
    default: []
  paths:
    description: Paths; RV(present) says whether each existed before anything was changed.
    type: list
    elements: path
    default: []
  texts:
    description: Paths of small files; RV(texts) has the content of each, empty if there is none.
    type: list
    elements: path
    default: []
  units:
    description: Units of systemd; RV(units) has the state of each after everything was changed.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Put the application's directories and files in place
  celery_fleet.kit.host_state:
    items:
      - {group: celery-fleet}
      - {user: celery-fleet, group: celery-fleet, home: /var/lib/celery-fleet}
      - {directory: /etc/celery-fleet, owner: root, group: celery-fleet, mode: "0750"}
      - {file: /etc/celery-fleet/fleet.json, content: "{}", owner: root, group: celery-fleet, mode: "0640"}
"""

RETURN = r"""
changes:
  description: What differs of each item that differs, by its path, or its kind and name.
  type: dict
  returned: always
  sample: {/etc/celery-fleet/fleet.json: [content]}
missing_packages:
  description: Those of O(packages) that are not installed.
  type: list
  elements: str
  returned: always
unknown_packages:
  description: Those of RV(missing_packages) that the host's lists of packages do not offer.
  type: list
  elements: str
  returned: always
present:
  description: Whether each of O(paths) existed.
  type: dict
  returned: always
texts:
  description: Content of each of O(texts).
  type: dict
  returned: always
units:
  description: Of each of O(units) its C(active) and its C(enabled) state, as C(systemctl show) prints them.
  type: dict
  returned: always
  sample: {ssh.service: {active: active, enabled: enabled}}
"""

TEXT: dict[str, Any] = {"type": "str"}
PATH: dict[str, Any] = {"type": "path"}
ITEM: dict[str, dict[str, Any]] = {
    "file": PATH,
    "directory": PATH,
    "link": PATH,
    "absent": PATH,
    "user": TEXT,
    "group": TEXT,
    "members": {"type": "list", "elements": "str"},
    "owner": TEXT,
    "mode": TEXT,
    "exact": {"type": "bool", "default": False},
    "content": TEXT,
    "secret": {"type": "str", "no_log": False},
    "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
    "parents": {"type": "bool", "default": False},
    "keeps": {"type": "list", "elements": "str", "choices": ["owner", "group", "mode"]},
    "shared": TEXT,
    "writers": {"type": "list", "elements": "str"},
    "own": {"type": "bool", "default": False},
    "record": PATH,
    "paths": {"type": "list", "elements": "path"},
    "block": {"type": "bool", "default": False},
    "validate": {"type": "list", "elements": "str"},
    "to": TEXT,
    "home": TEXT,
    "shell": {"type": "str", "default": "/usr/sbin/nologin"},
}
UNITS = Path("/etc/systemd/system")

ARGUMENTS: dict[str, dict[str, Any]] = {
    "items": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": ITEM,
        "required_one_of": [KINDS],
        "required_by": {"link": ("to",), "record": ("paths",), "user": ("group", "home")},
    },
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "packages": {"type": "list", "elements": "str", "default": []},
    "paths": {"type": "list", "elements": "path", "default": []},
    "texts": {"type": "list", "elements": "path", "default": []},
    "units": {"type": "list", "elements": "str", "default": []},
}


def unit_states(module: AnsibleModule, units: list[str]) -> dict[str, dict[str, str]]:
    """Return the state of units."""
    if not units:
        return {}
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", "--", *units]
    _, printed, _ = module.run_command(command, check_rc=True)
    properties = [
        dict(line.split("=", 1) for line in block.splitlines()) for block in printed.strip().split("\n\n")
    ]
    return {
        unit: {"active": shown["ActiveState"], "enabled": shown["UnitFileState"]}
        for unit, shown in zip(units, properties, strict=True)
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
    )
    params = module.params
    present = {path: Path(path).exists() for path in params["paths"]}
    state = HostState(module.check_mode, {name: str(text) for name, text in params["secrets"].items()})
    failure, texts = "", dict[str, str]()
    try:
        texts = {path: state.text(path) for path in params["texts"]}
        state.apply(params["items"])
    except StateError as error:
        failure = str(error)
    absent = missing(params["packages"])
    result: dict[str, Any] = {
        "changed": bool(state.changes),
        "changes": {change.item: change.what for change in state.changes},
        "missing_packages": absent,
        "unknown_packages": unknown(absent),
        "present": present,
        "texts": texts,
        "units": {},
        "diff": [
            {
                "before_header": change.item,
                "after_header": f"{change.item} ({', '.join(change.what)})",
                "before": change.before,
                "after": change.after,
            }
            for change in state.changes
        ],
    }
    if not module.check_mode and any(UNITS in Path(change.item).parents for change in state.changes):
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    result["units"] = unit_states(module, params["units"])
    if failure:
        module.fail_json(msg=failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
