"""What Prometheus reads, and who is told of what; as promtool and amtool understand it."""

import re
import subprocess
from fractions import Fraction

import pytest
import yaml
from fleet.findings import ModelError
from fleet.monitoring.alertmanager import alertmanager_config
from fleet.monitoring.alerts import ALERTS, alert_rules
from fleet.monitoring.prometheus import prometheus_config
from fleet.monitoring.rules import recording_rules
from support.prometheus import command

RECEIVERS = {
    "team": {
        "type": "email",
        "to": "ops@example.com",
        "from": "fleet@example.com",
        "server": "mail.example.com:587",
        "username": "fleet",
        "password": "hunter2",
    },
    "chat": {"type": "slack", "url": "https://chat.example.com/hooks/1", "channel": "#ops"},
    "pager": {"type": "pagerduty", "key": "0123456789abcdef"},
    "tickets": {"type": "webhook", "url": "https://tickets.example.com/alerts", "token": "t0ken"},
    "outside": {"type": "webhook", "url": "https://watch.example.com/ping/1"},
}
ROUTES = {"critical": ["pager", "chat"], "warning": ["team"], "watchdog": ["outside"]}
HOSTS = {"workers": {"cpu1": "10.0.0.2", "io1": "fd00::3"}, "brokers": {"b1": "broker-1.example.com"}}
PORTS = {"exporter": 9808, "rabbitmq": 15692, "prometheus": 9090, "alertmanager": 9093}


@pytest.fixture
def told(model):
    return {**model, "monitoring": {"receivers": RECEIVERS, "routes": ROUTES}}


def checked(path, content, *arguments):
    """Write a file and let the server's own command look at it."""
    path.write_text(yaml.safe_dump(content, width=10_000))
    ran = subprocess.run([*arguments], cwd=path.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("tls", [None, {"ca": "ca.pem", "certificate": "own.pem"}])
def test_prometheus_takes_its_files(told, hosts, tmp_path, tls):
    for name in ("ca.pem", "own.pem"):
        (tmp_path / name).touch()
    for name, rules in (("model.yml", recording_rules(told, hosts, 3, 1)), ("alerts.yml", alert_rules())):
        (tmp_path / name).write_text(yaml.safe_dump(rules))
    content = prometheus_config(told, HOSTS, PORTS, tls)
    checked(tmp_path / "prometheus.yml", content, command("promtool"), "check", "config", "prometheus.yml")


def test_each_host_is_read_by_its_name(told):
    jobs = {job["job_name"]: job for job in prometheus_config(told, HOSTS, PORTS)["scrape_configs"]}
    assert jobs["celery_fleet"]["static_configs"] == [
        {"targets": ["10.0.0.2:9808"], "labels": {"instance": "cpu1"}},
        {"targets": ["[fd00::3]:9808"], "labels": {"instance": "io1"}},
    ]
    assert jobs["rabbitmq"]["static_configs"] == jobs["rabbitmq_queues"]["static_configs"]
    assert jobs["rabbitmq_queues"]["params"]["vhost"] == ["celery_fleet"]
    (kept,) = jobs["rabbitmq_queues"]["metric_relabel_configs"]
    keeps = re.compile(kept["regex"]).fullmatch
    assert all(map(keeps, ("", "io_api_calls", "io_tasks_dead")))
    assert not any(map(keeps, ("io_1@w1.celery.pidbox", "celeryev.0a1b", "io_api_calls_old")))
    assert "scheme" not in jobs["celery_fleet"]


def test_with_tls_both_sides_prove_who_they_are(told):
    files = {"ca": "/etc/x/ca.pem", "certificate": "/etc/x/own.pem"}
    for job in prometheus_config(told, HOSTS, PORTS, files)["scrape_configs"]:
        if job["job_name"] in ("prometheus", "alertmanager"):
            assert job["static_configs"][0]["targets"][0].startswith("127.0.0.1:")
            continue
        assert job["scheme"] == "https"
        assert job["tls_config"] == {
            "ca_file": "/etc/x/ca.pem",
            "cert_file": "/etc/x/own.pem",
            "key_file": "/etc/x/own.pem",
        }


def test_alertmanager_takes_its_file(told, tmp_path):
    content = alertmanager_config(told)
    printed = checked(tmp_path / "a.yml", content, command("amtool"), "check-config", "a.yml")
    assert f"{len(RECEIVERS) + 1} receivers" in printed


@pytest.mark.parametrize(
    ("severity", "receivers"),
    [("critical", "pager,chat"), ("warning", "team"), ("info", "nobody"), ("watchdog", "outside")],
)
def test_an_alert_reaches_the_receivers_of_its_severity(told, tmp_path, severity, receivers):
    checked(
        tmp_path / "a.yml",
        alertmanager_config(told),
        *(command("amtool"), "config", "routes", "test", "--config.file=a.yml"),
        *(f"--verify.receivers={receivers}", f"severity={severity}", "alertname=X", "pool=io"),
    )


def test_without_receivers_nobody_is_told(model, tmp_path):
    content = alertmanager_config(model)
    checked(tmp_path / "a.yml", content, command("amtool"), "check-config", "a.yml")
    assert content["route"]["routes"] == []


def test_every_severity_has_a_route_of_its_own(told):
    severities = {alert.severity for alert in ALERTS} - {""}
    told["monitoring"]["routes"] = {severity: ["chat"] for severity in severities}
    routes = alertmanager_config(told)["route"]["routes"]
    assert {route["matchers"][0] for route in routes} == {f'severity="{each}"' for each in severities}


def test_only_alerts_that_there_are_say_nothing_beside_others(told):
    names = {alert.name for alert in ALERTS}
    for rule in alertmanager_config(told)["inhibit_rules"]:
        (source,), (target,) = rule["source_matchers"], rule["target_matchers"]
        cause, implied = source.split('"')[1], target.split('"')[1]
        assert cause in names
        for pattern in implied.split("|") if "(" not in implied else []:
            assert any(name.startswith(pattern.removesuffix(".*")) for name in names), pattern


def test_an_unknown_receiver_is_refused(told):
    told["monitoring"]["routes"] = {"critical": ["pagr"]}
    with pytest.raises(ModelError, match="pager"):
        alertmanager_config(told)


def test_a_finding_shows_no_secret(told):
    told["monitoring"]["receivers"] = {"a": {"type": "slack", "url": "hunter2 hunter2"}}
    with pytest.raises(ModelError) as refused:
        alertmanager_config(told)
    assert "hunter2" not in str(refused.value)


def test_a_site_says_how_long_alerts_wait():
    alerts = {rule["alert"]: rule for rule in alert_rules(Fraction(1, 10))["groups"][0]["rules"]}
    assert alerts["FleetWorkerMissing"]["for"] == "30s"
    assert "for" not in alerts["FleetTasksLost"]


@pytest.mark.parametrize(("scrape", "evaluation"), [(5, "10s"), (15, "30s"), (60, "30s")])
def test_rules_see_each_second_reading_at_least_twice_a_minute(model, scrape, evaluation):
    told = {**model, "monitoring": {"scrape": scrape}}
    assert prometheus_config(told, HOSTS, PORTS)["global"]["evaluation_interval"] == evaluation
