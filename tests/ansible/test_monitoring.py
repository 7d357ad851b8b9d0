"""What the monitoring role writes, rendered as Ansible does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.celery_fleet.kit.plugins.filter.monitoring import FilterModule
from fleet.host.names import installation
from fleet.monitoring.alerts import alert_rules
from support.ansible_runs import Run, facts
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


# What is declared of a host says less than the host itself.
HARDWARE = {"cores": 8, "memory_gib": 64}
DERIVED = {
    "hosts": "monitoring",
    "gather_facts": False,
    "vars": {
        "__derived": {
            "prometheus": "{{ monitoring_prometheus_config }}",
            "rules": "{{ monitoring_recording_rules }}",
            "alerts": "{{ monitoring_alert_rules }}",
            "alertmanager": "{{ monitoring_alertmanager_config }}",
            "pages": "{{ monitoring_consoles.keys() | list }}",
            "complete": "{{ monitoring_complete }}",
        }
    },
    "tasks": [{"write": {"path": "{{ out }}/mon1.json", "content": "{{ __derived | to_json }}"}}],
}

OF_BROKERS = {
    "hosts": "brokers",
    "gather_facts": False,
    "vars": {"__derived": {"plugins": "{{ broker_plugins }}", "peers": "{{ broker_metrics_peers }}"}},
    "tasks": [{"write": {"path": "{{ out }}/b1.json", "content": "{{ __derived | to_json }}"}}],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A fleet of one broker and two workers with a host for monitoring."""
    path = tmp_path_factory.mktemp("site")
    hosts = {"processor_vcpus": 8, "memtotal_mb": 64300}
    run = Run(path, path / "hosts.yml", [facts("workers", **hosts), DERIVED, OF_BROKERS])
    groups = {
        "brokers": {"hosts": {"b1": {"ansible_host": "10.0.0.1"}}},
        "workers": {
            "children": {
                "balanced_servers": {
                    "hosts": {
                        "w1": {"ansible_host": "10.0.0.2"},
                        "w2": {"ansible_host": "10.0.0.3", "fleet_hardware": HARDWARE},
                    }
                }
            }
        },
        "monitoring": {"hosts": {"mon1": {"ansible_host": "10.0.0.9"}}},
    }
    run.inventory.write_text(yaml.safe_dump(groups))
    return run


def test_the_servers_get_what_follows_from_the_model_and_the_inventory(site: Run) -> None:
    ran = site.run()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = site.result("mon1")
    jobs = {job["job_name"]: job.get("static_configs") for job in found["prometheus"]["scrape_configs"]}
    assert [(each["targets"], each["labels"]["instance"]) for each in jobs["celery_fleet"]] == [
        (["10.0.0.2:9808"], "w1"),
        (["10.0.0.3:9808"], "w2"),
    ]
    assert [each["targets"] for each in jobs["rabbitmq"]] == [["10.0.0.1:15692"]]
    planned = [
        rule
        for group in found["rules"]["groups"]
        for rule in group["rules"]
        if rule["record"] == "celery_fleet:planned_slots"
    ]
    assert {(rule["labels"]["instance"], rule["labels"]["pool"]) for rule in planned} == {
        (host, pool) for host in ("w1", "w2") for pool in ("io", "general")
    }
    assert found["alerts"] == alert_rules()
    assert found["alertmanager"]["route"]["receiver"] == "nobody"
    assert "fleet.html" in found["pages"]
    assert found["complete"] is True
    assert site.result("b1") == {
        "plugins": ["rabbitmq_management", "rabbitmq_prometheus"],
        "peers": ["10.0.0.9"],
    }


def test_a_run_that_leaves_workers_out_knows_that_it_lacks_their_plans(site: Run) -> None:
    ran = site.run("--limit", "mon1,w1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert site.result("mon1")["complete"] is False
