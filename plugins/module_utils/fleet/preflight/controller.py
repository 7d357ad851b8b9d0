"""Whether Ansible runs with the settings that the kit needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..findings import Findings

# Where the kit's model is, beside its playbooks, and where a site says what it has instead.
MODEL: Final = "all_plugins_play"
SITE: Final = ("all_inventory", "all_plugins_inventory", "groups_inventory", "groups_plugins_inventory")


def fault(precedence: Sequence[str], config: str | None) -> str:
    """Say why the kit's model would win over what a site has instead.

    Args:
        precedence: Ansible's setting of this name, the lowest layer first.
        config: The file from which Ansible has its settings; none if it found none.

    Returns:
        A sentence; nothing if the site wins.
    """
    order = list(precedence)
    lowest = min((order.index(layer) for layer in SITE if layer in order), default=len(order))
    if MODEL in order[:lowest]:
        return ""
    found = f"Ansible has its settings from {config}" if config else "Ansible has found no ansible.cfg"
    return f"{found}, and not the line `precedence` by which an inventory wins over the kit's own model"


def check(precedence: Sequence[str], config: str | None, findings: Findings) -> None:
    """Find settings with which a site would not be read as it is written.

    Args:
        precedence: As for ``fault``.
        config: As for ``fault``.
        findings: Receives the fault.
    """
    if reason := fault(precedence, config):
        findings.add(
            "controller/precedence", "ansible.cfg", config or "(none)", reason, where="the controller"
        )
