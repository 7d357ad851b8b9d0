"""Write the files of one directory at once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: files
short_description: Write the files of one directory at once
description:
  - One task instead of one for each file, on every host and in every run.
  - A file is written beside its place and moved there, so that nobody reads half of it. What is in
    it is in no result, log or difference.
options:
  path:
    description: The directory; it is made if it is missing.
    type: path
    required: true
  contents:
    description: What each file holds, by its name.
    type: dict
    required: true
  owner:
    description: Whose the files are.
    type: str
    default: root
  group:
    description: Their group.
    type: str
    default: root
  mode:
    description: Their mode.
    type: str
    default: "0644"
  private:
    description: Names of files that are for root alone.
    type: list
    elements: str
    default: []
  exact:
    description: Whether other files of the directory are removed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Write the passwords
  celery_fleet.kit.files:
    path: /etc/celery-fleet/secrets
    contents: "{{ passwords }}"
    group: celery-fleet
    mode: "0640"
    exact: true
"""

RETURN = r"""
written:
  description: Names of the files that were written.
  type: list
  elements: str
  returned: always
removed:
  description: Names of the files that were removed.
  type: list
  elements: str
  returned: always
"""


def write(module: AnsibleModule, path: Path, content: bytes) -> None:
    """Put a file in its place, readable by nobody else until it has its owner and mode."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as draft:
        draft.write(content)
    try:
        module.set_fs_attributes_if_different(attributes(module, Path(draft.name), path.name), False)
        Path(draft.name).replace(path)
    except BaseException:
        Path(draft.name).unlink(missing_ok=True)
        raise


def attributes(module: AnsibleModule, path: Path, name: str) -> dict[str, Any]:
    """Give what `path`, which is or becomes the file of this name, is to have."""
    params = module.params
    rights = {key: params[key] for key in ("owner", "group", "mode")}
    if name in params["private"]:
        rights = {"owner": "root", "group": "root", "mode": "0600"}
    arguments: dict[str, Any] = module.load_file_common_arguments({"path": str(path), **rights})
    return arguments


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "contents": {"type": "dict", "required": True, "no_log": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
            "private": {"type": "list", "elements": "str", "default": []},
            "exact": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["path"])
    contents = {name: str(content).encode() for name, content in module.params["contents"].items()}
    astray = sorted(name for name in contents if name != Path(name).name or name in ("", ".."))
    if astray:
        module.fail_json(
            msg=f"contents names {', '.join(astray)}, which is no name of a file: use plain names"
        )
    there = {path.name: path for path in directory.iterdir() if path.is_file()} if directory.is_dir() else {}
    written = sorted(
        name for name, content in contents.items() if name not in there or there[name].read_bytes() != content
    )
    removed = sorted(there.keys() - contents.keys()) if module.params["exact"] else []
    if not module.check_mode:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in written:
            write(module, directory / name, contents[name])
        for name in removed:
            there[name].unlink()
    corrected = [
        name
        for name in sorted(contents.keys() & there.keys())
        if name not in written
        and module.set_fs_attributes_if_different(attributes(module, there[name], name), False)
    ]
    why = dict.fromkeys(written, ": another content") | dict.fromkeys(corrected, ": another owner or mode")
    left = (there.keys() - set(removed)) | contents.keys()
    module.exit_json(
        changed=bool(written or removed or corrected),
        written=written,
        removed=removed,
        diff={
            "before_header": str(directory),
            "after_header": str(directory),
            "before": "".join(f"{name}{why.get(name, '')}\n" for name in sorted(there)),
            "after": "".join(f"{name}\n" for name in sorted(left)),
        },
    )


if __name__ == "__main__":
    main()
