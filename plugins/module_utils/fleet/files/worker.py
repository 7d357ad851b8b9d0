"""A pool's worker as data: what a host is given to run, and when it must be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plan.installed import plan_figures
from .digest import digest


def worker(pool: Mapping[str, Any], release: str, reads: str, unit: str, slice_text: str) -> dict[str, Any]:
    """Build the input of the module `worker_instances` for a pool.

    Args:
        pool: One pool of what ``host_plan`` returned.
        release: Name of the release.
        reads: Digest of what the worker reads from ``fleet.json``; see ``fleet_file.worker_digests``.
        unit: Text of its unit, in which ``names.NUMBER`` stands for the number of the instance.
        slice_text: Text of its slice, which systemd changes under a running worker.

    Returns:
        ``release``, ``digest``, ``rollover``, ``figures``, ``unit`` and ``slice``.
    """
    return {
        "release": release,
        "digest": digest([unit, reads])[:8],
        "rollover": pool["rollover"],
        "figures": plan_figures(pool),
        "unit": unit,
        "slice": slice_text,
    }
