"""Periodic tasks of an application, as the import of its release reports them, beside those of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..findings import nearest
from ..text import some


def periodic_tasks(report: object, schedule: Mapping[str, Mapping[str, Any]], beat: object) -> dict[str, Any]:
    """Compare the periodic tasks of an application with those of the model.

    Args:
        report: What the build of the release reported, as JSON; empty if that is not known.
        schedule: The mapping ``fleet_schedule``.
        beat: The variable ``fleet_beat``.

    Returns:
        ``faults``, a sentence each; and ``text``, which says what is sent and by what; empty if nothing is.
    """
    build = _read(report)
    if not build:
        return {"faults": [], "text": ""}
    periodic = build.get("periodic") or {}
    own = sorted(periodic.get("entries") or {})
    scheduler = str(periodic.get("scheduler") or "")
    faults = list(_unknown(schedule, build.get("tasks") or []))
    if beat == "auto" and not schedule and (own or scheduler):
        what = f"periodic tasks of its own ({some(own)})" if own else f"the scheduler class {scheduler}"
        faults.append(
            f"the application has {what}: set fleet_beat to true, or to false if nobody shall send them"
        )
    return {"faults": faults, "text": _text(own, scheduler, schedule)}


def _read(report: object) -> dict[str, Any]:
    try:
        document = json.loads(report) if isinstance(report, str) and report else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _unknown(schedule: Mapping[str, Mapping[str, Any]], tasks: list[str]) -> list[str]:
    return [
        f"fleet_schedule.{name}: the application has no task {entry['task']!r}{nearest(entry['task'], tasks)}"
        for name, entry in schedule.items()
        if entry["task"] not in tasks and not str(entry["task"]).startswith("celery.")
    ]


def _text(own: list[str], scheduler: str, schedule: Mapping[str, object]) -> str:
    parts = [f"{len(own)} of the application ({some(own)})"] if own else []
    if schedule:
        parts.append(f"{len(schedule)} of fleet_schedule ({some(sorted(schedule))})")
    if scheduler:
        parts.append(f"those of {scheduler}")
    text = "Periodic tasks: " + ", ".join(parts) if parts else ""
    if replaced := sorted(set(own) & set(schedule)):
        text += f"; fleet_schedule replaces the application's {some(replaced)}"
    return text
