"""Alertmanager's configuration: who is told of what, and which alerts say nothing beside others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..model.read import read_model

# Whoever is named in no route gets nothing; the alerts are still seen in Prometheus.
NOBODY: Final = "nobody"
_SUMMARIES: Final = "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ end }}"
_TITLE: Final = "[{{ .Status | toUpper }}] {{ .CommonLabels.alertname }}"

# What the second says is known by the first; both have these labels in common.
_IMPLIED: Final = (
    ("FleetQueueFull", "FleetQueueFilling|FleetQueueWillFill", ("queue",)),
    ("FleetQueueFilling", "FleetQueueWillFill", ("queue",)),
    (
        "FleetHostSilent",
        "FleetWorker.*|FleetSlotsBelowPlan|FleetTwoInstances|Host.*|MonitoringTargetSilent",
        ("instance",),
    ),
    ("FleetWorkerMissing", "FleetSlotsBelowPlan", ("instance", "pool")),
    ("FleetSchedulerNone", "FleetScheduleMissed", ()),
    ("BrokerLastMajority", "BrokerDown", ()),
    (
        "BrokerNoMajority",
        "Broker(Down|LastMajority|LinksDown)|FleetQueue.*|FleetTasksWait.*|FleetWorkerWaits|FleetSchedule.*",
        (),
    ),
)


def alertmanager_config(raw_model: object) -> dict[str, Any]:
    """Return the content of Alertmanager's file, which has secrets in it.

    Args:
        raw_model: The mapping ``fleet_model``.

    Returns:
        The configuration in plain types.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    told = model.monitoring
    return {
        "route": {
            "receiver": NOBODY,
            "group_by": ["alertname", "pool", "queue"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "4h",
            "routes": [
                _route(severity, receiver)
                for severity, receivers in told.routes.items()
                for receiver in receivers
            ],
        },
        "receivers": [
            {"name": NOBODY},
            *({"name": name, **_receiver(fields)} for name, fields in told.receivers.items()),
        ],
        "inhibit_rules": [
            {
                "source_matchers": [f'alertname="{cause}"'],
                "target_matchers": [f'alertname=~"{implied}"'],
                **({"equal": list(common)} if common else {}),
            }
            for cause, implied, common in _IMPLIED
        ],
    }


def _route(severity: str, receiver: str) -> dict[str, Any]:
    # A service that misses it has to hear of it all the time.
    always = {"group_interval": "1m", "repeat_interval": "1m"} if severity == "watchdog" else {}
    return {"receiver": receiver, "matchers": [f'severity="{severity}"'], "continue": True, **always}


def _receiver(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a receiver that says how it is told."""
    if fields["type"] == "email":
        login = {"auth_username": fields.get("username"), "auth_password": fields.get("password")}
        return {
            "email_configs": [
                {
                    "to": fields["to"],
                    "from": fields["from"],
                    "smarthost": fields["server"],
                    "require_tls": True,
                    "send_resolved": True,
                    "headers": {"Subject": _TITLE},
                    "text": _SUMMARIES,
                    **_given(login),
                }
            ]
        }
    if fields["type"] == "slack":
        message = {"api_url": fields["url"], "title": _TITLE, "text": _SUMMARIES, "send_resolved": True}
        return {"slack_configs": [message | _given({"channel": fields.get("channel")})]}
    if fields["type"] == "pagerduty":
        event = {
            "routing_key": fields["key"],
            "description": f"{_TITLE}: {_SUMMARIES}",
            "send_resolved": True,
        }
        return {"pagerduty_configs": [event | _given({"url": fields.get("events_url")})]}
    bearer = {"authorization": {"type": "Bearer", "credentials": fields.get("token")}}
    sent = {"url": fields["url"], "send_resolved": True}
    return {"webhook_configs": [sent | ({"http_config": bearer} if fields.get("token") else {})]}


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
