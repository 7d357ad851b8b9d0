"""Ansible as the repository's own configuration sets it up."""

from ansible.plugins.loader import init_plugin_loader
from support.ansible_runs import COLLECTIONS

# Once, and before anything is templated: the first use would fix a path without the kit's collection.
init_plugin_loader([str(COLLECTIONS)])
