"""Filters that derive what the servers of monitoring read from the model and the inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import ModelError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.read import read_model
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.alertmanager import (
    alertmanager_config,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.alerts import alert_rules
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.login import htpasswd
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.prometheus import (
    prometheus_config,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.rules import recording_rules


def _as_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a refusal into an error that Ansible shows as text."""

    def wrapped(*args: object, **options: object) -> object:
        try:
            return function(*args, **options)
        except ModelError as refusal:
            raise AnsibleFilterError(f"The fleet's model is refused. {refusal}") from refusal

    return wrapped


def console_items(consoles: Mapping[str, str], directory: str, group: str) -> list[dict[str, Any]]:
    """Return the pages of Prometheus as the module host_state takes them; others in the directory go."""
    return [
        {"directory": directory, "owner": "root", "group": group, "mode": "0750", "exact": True},
        *(
            {
                "file": f"{directory}/{name}",
                "content": text,
                "owner": "root",
                "group": group,
                "mode": "0640",
            }
            for name, text in consoles.items()
        ),
    ]


class FilterModule:
    """The filters of monitoring."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        filters: dict[str, Callable[..., Any]] = {
            "alertmanager_config": alertmanager_config,
            "alert_rules": lambda model: alert_rules(read_model(model)[0].monitoring.patience),
            "console_items": console_items,
            "htpasswd": htpasswd,
            "prometheus_config": prometheus_config,
            "recording_rules": recording_rules,
        }
        return {name: _as_filter(function) for name, function in filters.items()}
