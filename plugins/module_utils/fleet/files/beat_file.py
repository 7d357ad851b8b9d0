"""`beat.json`: the schedule as the scheduler reads it."""

from __future__ import annotations

from typing import Any

from ..model.names import BEAT
from ..model.read import read_model
from .fleet_file import login_of


def beat_file(raw_model: object) -> dict[str, Any]:
    """Return the content of ``beat.json``, which the fleet's scheduler reads.

    Args:
        raw_model: The mapping ``fleet_model``.

    Returns:
        The file's content in plain types; secrets are named by path only.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    # When an entry counts as late is what alerts are derived from, and no business of the scheduler.
    entries = {
        name: {field: value for field, value in entry.items() if field != "late"}
        for name, entry in model.schedule.items()
    }
    return {**login_of("beat", model.broker.user_prefix), "queue": BEAT, "schedule": entries}
