"""Filters that return dashboards and consoles, which are the same for every fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.consoles import consoles
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.grafana import (
    dashboards,
    provisioning,
)


class FilterModule:
    """The filters; what they are given does not matter, except for the directory of Grafana's dashboards."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "consoles": lambda _: consoles(),
            "dashboards": lambda _: {
                name: f"{json.dumps(board, indent=1)}\n" for name, board in dashboards().items()
            },
            "dashboards_provisioning": lambda directory: provisioning(str(directory)),
        }
