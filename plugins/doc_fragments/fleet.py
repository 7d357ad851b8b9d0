"""The option of modules that change what a fleet has on a host."""

from __future__ import annotations


class ModuleDocFragment:
    """The name of the fleet."""

    DOCUMENTATION = r"""
options:
  fleet:
    description: Name of the fleet whose host this has to be; the module fails on a host of another one.
    type: str
    default: celery_fleet
"""
