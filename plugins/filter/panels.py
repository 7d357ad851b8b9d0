"""The filter that returns the consoles, which are the same for every fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.monitoring.consoles import consoles


class FilterModule:
    """The filter; what it is given does not matter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"consoles": lambda _: consoles()}
