"""Lets this process find the kit's filters and modules by their names; Ansible can be told once only."""

from ansible.plugins.loader import init_plugin_loader

from support.ansible_runs import COLLECTIONS

init_plugin_loader([str(COLLECTIONS)])
