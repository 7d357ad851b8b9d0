"""Lets this process find the kit's filters and modules by their names; Ansible can be told once only."""

import os

from support.ansible_runs import COLLECTIONS
from support.fleet_model import ROOT

# Before Ansible is imported, which reads it then.
os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader([str(COLLECTIONS)])
