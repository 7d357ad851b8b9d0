"""What the monitoring role writes, rendered as Ansible does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.celery_fleet.kit.plugins.filter.monitoring import FilterModule
from fleet.host.names import installation
from fleet.monitoring.alerts import alert_rules
from support.units import parse, render

DEFAULTS: dict[str, Any] = {
    "role": "monitoring",
    "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"},
    "monitoring_installation": installation("shop"),
    "monitoring_prometheus_port": 9090,
    "monitoring_alertmanager_port": 9093,
    "monitoring_retention_days": 7,
    "monitoring_size_mib": 512,
}


def command(template: str) -> list[str]:
    """Return the command of a unit."""
    (line,) = parse(render(template, **DEFAULTS))["Service"]["ExecStart"]
    return line.split()


@pytest.mark.parametrize("server", ["prometheus", "alertmanager"])
def test_a_server_listens_on_the_host_itself_only(server: str) -> None:
    words = command(f"{server}.service.j2")
    listening = {word.partition("=")[2] for word in words if "listen-address" in word}
    assert listening - {""} == {"127.0.0.1:9090" if server == "prometheus" else "127.0.0.1:9093"}
    # Alertmanagers of a cluster have a port of their own, on all addresses, unless theirs is empty.
    assert ("--cluster.listen-address=" in words) == (server == "alertmanager")


@pytest.mark.parametrize("server", ["prometheus", "alertmanager"])
def test_a_server_has_no_rights(server: str) -> None:
    service = parse(render(f"{server}.service.j2", **DEFAULTS))["Service"]
    assert service["User"] == service["Group"] == ["celery-fleet-monitoring"]
    assert (service["CapabilityBoundingSet"], service["NoNewPrivileges"]) == ([""], ["true"])
    assert service["ProtectSystem"] == ["strict"]


def test_figures_are_kept_as_long_as_the_site_says() -> None:
    words = command("prometheus.service.j2")
    assert "--storage.tsdb.retention.time=7d" in words
    assert "--storage.tsdb.retention.size=512MB" in words


def test_what_prometheus_fills_in_later_is_not_filled_in_by_ansible() -> None:
    rules = alert_rules()
    written = render("alerts.yml.j2", **DEFAULTS, monitoring_alert_rules=rules)
    assert yaml.safe_load(written) == rules
    assert "{{ $labels.queue }}" in written


def test_only_the_fleet_s_own_pages_are_served() -> None:
    assert "--web.console.templates=/etc/celery-fleet-monitoring/consoles" in command("prometheus.service.j2")
    directory, page = FilterModule().filters()["console_items"]({"fleet.html": "<p>"}, "/etc/x", "shop")
    assert (directory["directory"], directory["exact"]) == ("/etc/x", True)
    assert (page["file"], page["content"], page["mode"]) == ("/etc/x/fleet.html", "<p>", "0640")
