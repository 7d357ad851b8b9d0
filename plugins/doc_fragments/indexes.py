"""Documentation of what the modules that install packages share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option for indexes of packages (module_utils/fleet/host/indexes.py)."""

    DOCUMENTATION = r"""
options:
  indexes:
    description: Indexes that are asked, in place of those of the machine's own configuration.
    type: list
    elements: dict
    default: []
    options:
      url:
        description: Address of the index.
        type: str
        required: true
      username:
        description: User that may read it.
        type: str
      password:
        description: Password or token of the user.
        type: str
"""
