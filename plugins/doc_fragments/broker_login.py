"""Documentation of what the modules of the broker share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of a module that logs in to the management API."""

    DOCUMENTATION = r"""
options:
  login_user:
    description: >-
      A user with the tag C(administrator) and all rights in the vhost; to read only, C(monitoring) is enough.
    type: str
    required: true
  login_password:
    description: Its password.
    type: str
    required: true
  url:
    description: Address of the management API.
    type: str
    default: http://127.0.0.1:15672
  timeout:
    description: Seconds that one request may take.
    type: int
    default: 30
"""
