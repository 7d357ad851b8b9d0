"""Preflight on broken models and inventories: each is named by its identifier, its variable and its value."""

import copy
import re
from pathlib import Path

import fleet
import pytest
import yaml
from fleet.catalogue import CATALOGUE
from fleet.findings import report
from fleet.model.spec import RENAMED
from fleet.preflight.checks import OPEN_FILES, SYSTEMS, find
from fleet.preflight.versions import PACKAGED
from support.broken_locks import BROKEN_LOCKS
from support.broken_models import BROKEN, DELETE, EXISTING, put
from support.broken_sources import BROKEN_SOURCES
from support.fleet_model import LOADED, ROOT, host_plan

SCALED = {"enabled": True, "min": 1, "max": 2}
LOCKED = {"versions": {"celery": "5.7.0", "kombu": "5.7.0"}, "release": "shop-1", "findings": []}


class Fleet:
    """A sound fleet that a case breaks: its model, hosts and groups, and what else preflight looks at."""

    def __init__(self, model, hosts, groups):
        self.model, self.hosts, self.groups = model, hosts, groups
        system = {"distribution": "Debian", "distribution_version": "13.1", "gathered": True}
        for name, host in hosts.items():
            hosts[name] = host | system
        hosts |= {"broker1": dict(system), "client1": dict(system)}
        self.more = {"contacted": True, "application": copy.deepcopy(LOCKED), "variables": {}}

    def look(self):
        return list(find(self.model, self.hosts, self.groups, **self.more))

    def model_at(self, path, value):
        put(self.model, path, value)

    def host_at(self, path, value):
        put(self.hosts, path, value)

    def group_at(self, path, value):
        put(self.groups, path, value)

    def more_at(self, path, value):
        put(self.more, path, value)


@pytest.fixture
def sound(model, hosts, groups):
    return Fleet(model, hosts, groups)


# Ansible's own order of variables, the lowest first.
VARIABLES = [
    f"{layer}_{place}"
    for place in ("inventory", "plugins_inventory", "plugins_play")
    for layer in ("all", "groups")
]
RESULTS = {"nodes": ["10.0.0.9"], "port": 6390, "memory": 0.1}

# Each: identifier, variable, value as it is shown, place (or none), and what breaks the fleet.
MODEL, HOST, GROUP, MORE = "model", "host", "group", "more"
CPU = "fleet_pools.cpu"
ENDING = {
    "kind": "authority",
    "name": "CN=old",
    "not_after": "2026-12-20T00:00:00",
    "days": 20,
    "level": "warning",
}
CASES = [
    # Encrypted connections
    (
        "tls/ending-certificate",
        "fleet_tls_certificates",
        "kit",
        None,
        [(MORE, "certificates", [ENDING])],
    ),
    # The broker's API
    (
        "broker/plain-management",
        "broker_management_address",
        "0.0.0.0",
        "broker1",
        [(HOST, "broker1.broker_management_address", "0.0.0.0")],
    ),
    # Results
    (
        "results/no-library",
        "fleet_app.requirements",
        "no redis",
        "requirements.lock",
        [(MODEL, "results", RESULTS)],
    ),
    (
        "results/no-memory",
        "fleet_results.memory",
        "0.1",
        "cpu1",
        [
            (MODEL, "results", RESULTS),
            (GROUP, "results", ["cpu1"]),
            (MORE, "application.versions.redis", "8.1"),
        ],
    ),
    # The brokers
    (
        "broker/small-disk",
        "fleet_broker.max_backlog_mib",
        "16384",
        "broker1",
        [(HOST, "broker1", {"groups": ["brokers"], "broker_disk_mib": 20480})],
    ),
    (
        "broker/few-connections",
        "fleet_broker.max_connections",
        "100",
        None,
        [(MODEL, "broker.max_connections", 100)],
    ),
    # One that the site has already
    (
        "broker/contradiction",
        "groups.brokers",
        "broker1",
        None,
        [(MODEL, "broker", EXISTING)],
    ),
    (
        "broker/plain-api",
        "fleet_broker.api",
        "http://mq.example",
        None,
        [
            (MODEL, "broker", {**EXISTING, "api": "http://mq.example"}),
            (GROUP, "brokers", DELETE),
        ],
    ),
    # Monitoring
    (
        "monitoring/unknown-receiver",
        "fleet_monitoring.routes.critical",
        "pager",
        None,
        [(MODEL, "monitoring", {"routes": {"critical": ["pager"]}})],
    ),
    (
        "monitoring/no-receiver",
        "fleet_monitoring.routes",
        "critical",
        None,
        [
            (GROUP, "monitoring", ["client1"]),
            (MODEL, "monitoring.receivers", {"team": {"type": "webhook", "url": "https://example.com"}}),
            (MODEL, "monitoring.routes", {"critical": ["team"], "warning": []}),
        ],
    ),
    (
        "monitoring/plain-metrics",
        "fleet_tls_certificates",
        "own",
        None,
        [(GROUP, "monitoring", ["client1"]), (MORE, "kit_certificates", False)],
    ),
    # The interpreter
    (
        "python/absent",
        "fleet_app.python",
        "python3",
        "cpu1",
        [(HOST, "cpu1.python", {"wanted": "python3", "fault": "there is no python3"})],
    ),
    (
        "python/unfit",
        "fleet_app.python",
        "python3",
        "cpu1",
        [(HOST, "cpu1.python", {"wanted": "python3", "version": "3.9.2", "path": "/usr/bin/python3"})],
    ),
    (
        "python/archive",
        "fleet_app.python.archive",
        "/srv/none.tar",
        None,
        [(MODEL, "app.python", {"version": "3.12", "archive": "/srv/none.tar", "sha256": "0" * 64})],
    ),
    # The four mistakes of the guide
    (
        "schedule/when",
        "fleet_schedule.tidy",
        "every, crontab",
        None,
        [(MODEL, "schedule", {"tidy": {"task": "a.b", "every": 5, "crontab": "* * * * *"}})],
    ),
    (
        "mistake/one-concurrency",
        "fleet_pool_defaults.concurrency",
        "4",
        None,
        [(MODEL, "pool_defaults.concurrency", 4)],
    ),
    (
        "mistake/one-concurrency",
        f"{CPU}.concurrency",
        "4",
        None,
        [(MODEL, f"pools.{name}.concurrency", 4) for name in LOADED["pools"]],
    ),
    (
        "mistake/more-tasks-than-cores",
        f"{CPU}.concurrency",
        "50",
        "cpu1",
        [(MODEL, "pools.cpu.concurrency", 50)],
    ),
    (
        "mistake/more-tasks-than-cores",
        "fleet_host_pools.cpu.concurrency",
        "17",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"concurrency": 17}})],
    ),
    (
        "mistake/more-tasks-than-cores",
        f"{CPU}.autoscale.max",
        "40",
        "cpu1",
        [(MODEL, "pools.cpu.autoscale", {"enabled": True, "min": 2, "max": 40})],
    ),
    (
        "mistake/high-prefetch",
        "fleet_host_pools.memory.prefetch_multiplier",
        "10",
        "memory1",
        [(HOST, "memory1.pools", {"memory": {"prefetch_multiplier": 10}})],
    ),
    (
        "limits/missing",
        "fleet_host_pools.cpu.time_limit",
        "None",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"time_limit": None}})],
    ),
    # Limits and delays
    (
        "limits/not-enforced",
        "fleet_pools.io.execution",
        "gevent",
        None,
        [(MODEL, "pools.io.execution", "gevent")],
    ),
    (
        "limits/not-enforced",
        "fleet_pools.io.execution",
        "threads",
        None,
        [(MODEL, "pools.io.execution", "threads")],
    ),
    (
        "limits/as-good-as-none",
        f"{CPU}.time_limit",
        "604801",
        None,
        [(MODEL, "pools.cpu.time_limit", 604801)],
    ),
    (
        "limits/long-window",
        "fleet_pools.io.prefetch_multiplier",
        "500",
        None,
        [(MODEL, "pools.io.prefetch_multiplier", 500)],
    ),
    (
        "delays/held-by-worker",
        "fleet_pools.io.exchange_type",
        "direct",
        None,
        [(MODEL, "pools.io.exchange_type", "direct")],
    ),
    (
        "delays/held-by-worker",
        "fleet_pool_defaults.queue_type",
        "classic",
        None,
        [(MODEL, "pool_defaults.queue_type", "classic")],
    ),
    (
        "delays/beyond-timeout",
        "fleet_pools.io.eta_horizon",
        "86400",
        None,
        [(MODEL, "pools.io.exchange_type", "direct"), (MODEL, "pools.io.eta_horizon", 86400)],
    ),
    (
        "queue/drops-oldest",
        "fleet_pools.io.overflow",
        "drop-head",
        None,
        [(MODEL, "pools.io.overflow", "drop-head")],
    ),
    # Sums over a host
    (
        "sizing/over-budget",
        "fleet_host_pools.io.concurrency",
        "51",
        "balanced1",
        [(HOST, "balanced1.pools", {"io": {"concurrency": 51}})],
    ),
    (
        "sizing/over-budget",
        "fleet_pools.memory.autoscale.max",
        "6",
        "memory1",
        [(MODEL, "pools.memory.autoscale", {"enabled": True, "min": 1, "max": 6})],
    ),
    (
        "sizing/over-host",
        "fleet_host_pools.memory.concurrency",
        "6",
        "memory1",
        [(HOST, "memory1.pools", {"memory": {"concurrency": 6}})],
    ),
    (
        "sizing/open-files",
        "worker_open_files",
        "256",
        "balanced1",
        [(HOST, "balanced1.open_files", 256)],
    ),
    (
        "sizing/open-files",
        "worker_open_files",
        "65536",
        "balanced1",
        [
            (MODEL, "pools.io.execution", "gevent"),
            (MODEL, "pools.io.demand", {"cores": 0.0001, "memory_mib": 1}),
        ],
    ),
    (
        "sizing/too-little-memory",
        "fleet_pools.memory.demand.memory_mib",
        "24576",
        "memory1",
        [(HOST, "memory1.hardware.memory_mib", 16000)],
    ),
    ("sizing/too-few-cores", f"{CPU}.demand.cores", "1", "cpu1", [(HOST, "cpu1.hardware.cores", 1)]),
    (
        "sizing/too-few-cores",
        "fleet_host_pools.io.demand.cores",
        "7",
        "balanced1",
        [(HOST, "balanced1.pools", {"io": {"demand": {"cores": 7}}})],
    ),
    (
        "hardware/unreadable",
        "ansible_facts",
        "{'cores': 'many', 'memory_mib': 32102}",
        "cpu1",
        [(HOST, "cpu1.hardware.cores", "many")],
    ),
    (
        "hardware/bad-declaration",
        "fleet_hardware",
        "{'cores': 16}",
        "cpu1",
        [(HOST, "cpu1.hardware", {"declared": {"cores": 16}})],
    ),
    (
        "hardware/differs-from-declaration",
        "fleet_hardware",
        "8 cores, 32 GiB",
        "cpu1",
        [(HOST, "cpu1.hardware.declared", {"cores": 8, "memory_gib": 32})],
    ),
    # Hosts in the model
    (
        "host/unknown-pool",
        "fleet_host_pools.cpus",
        "cpus",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpus": {"time_limit": 1}})],
    ),
    ("model/bad-value", "fleet_host_pools", "everything", "cpu1", [(HOST, "cpu1.pools", "everything")]),
    (
        "model/bad-value",
        "fleet_host_pools.cpu.time_limit",
        "-5",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"time_limit": -5}})],
    ),
    (
        "model/unknown-key",
        "fleet_host_pools.cpu.concurency",
        "8",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"concurency": 8}})],
    ),
    (
        "model/fleet-wide-field",
        "fleet_host_pools.cpu.queue_type",
        "classic",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"queue_type": "classic"}})],
    ),
    # The inventory
    (
        "queue/no-consumer",
        "fleet_pools.memory.queues",
        "memory_aggregations, memory_large_imports",
        None,
        [(HOST, "memory1.groups", ["cpu_servers", "workers"])],
    ),
    ("inventory/missing-group", "groups.workers", "None", None, [(GROUP, "workers", DELETE)]),
    (
        "inventory/missing-group",
        "fleet_profiles.cpu_servers",
        "cpu_servers",
        None,
        [(GROUP, "cpu_servers", DELETE)],
    ),
    ("inventory/empty-group", "groups.brokers", "[]", None, [(GROUP, "brokers", [])]),
    ("inventory/empty-group", "groups.workers", "[]", None, [(GROUP, "workers", [])]),
    (
        "inventory/even-brokers",
        "groups.brokers",
        "broker1, client1",
        None,
        [(GROUP, "brokers", ["broker1", "client1"])],
    ),
    ("inventory/old-brokers", "groups.old_brokers", "mq0", None, [(GROUP, "old_brokers", ["mq0"])]),
    ("inventory/many-brokers", "groups.brokers", "9", None, [(GROUP, "brokers", ["broker1"] * 9)]),
    (
        "inventory/duplicate-broker",
        "ansible_facts.nodename",
        "mq.example.org",
        "client1",
        [
            (GROUP, "brokers", ["broker1", "client1", "cpu1"]),
            (HOST, "broker1.nodename", "mq.example.com"),
            (HOST, "client1.nodename", "mq.example.org"),
        ],
    ),
    ("app/unknown-host", "fleet_app.release_host", "cpu11", None, [(MODEL, "app.release_host", "cpu11")]),
    ("app/unknown-host", "fleet_app.release_host", "broker1", None, [(MODEL, "app.release_host", "broker1")]),
    ("inventory/idle-worker", "groups.workers", "cpu1", "cpu1", [(HOST, "cpu1.groups", ["workers"])]),
    (
        "inventory/outside-workers",
        "groups.cpu_servers",
        "client1",
        "client1",
        [(GROUP, "cpu_servers", ["cpu1", "client1"])],
    ),
    *(
        ("inventory/bad-hostname", "ansible_facts.nodename", shown, "cpu1", [(HOST, "cpu1.nodename", name)])
        for name, shown in (
            ("cpu 1", "cpu 1"),
            ("%n", "%n"),
            ("a'b", "a'b"),
            ("a;b", "a;b"),
            ("-a", "-a"),
            ("x" * 65, "x" * 65),
        )
    ),
    (
        "inventory/bad-hostname",
        "ansible_facts.nodename",
        "mq$1",
        "broker1",
        [(HOST, "broker1", {"groups": ["brokers"], "nodename": "mq$1"})],
    ),
    (
        "model/name-not-text",
        "fleet_host_pools.True",
        "True",
        "cpu1",
        [(HOST, "cpu1.pools", {True: {}})],
    ),
    (
        "inventory/duplicate-node",
        "ansible_facts.nodename",
        "cpu1",
        "memory1",
        [(HOST, "memory1.nodename", "cpu1")],
    ),
    ("inventory/unreachable", "groups.workers", "cpu1", "cpu1", [(HOST, "cpu1.gathered", False)]),
    ("inventory/unreachable", "groups.brokers", "broker1", "broker1", [(HOST, "broker1", {})]),
    ("inventory/unreachable", "groups.clients", "client1", "client1", [(HOST, "client1", DELETE)]),
    (
        "inventory/misspelt-variable",
        "worker_open_file",
        "(not shown)",
        "cpu1",
        [(MORE, "variables.worker_open_file", {"hosts": ["cpu1"], "near": ["worker_open_files"]})],
    ),
    (
        "inventory/misspelt-variable",
        "fleet_pool",
        "(not shown)",
        "prod/group_vars/all.yml:3",
        [
            (
                MORE,
                "variables.fleet_pool",
                {"hosts": ["cpu1"], "near": ["fleet_pools"], "file": "prod/group_vars/all.yml:3"},
            )
        ],
    ),
    (
        "inventory/unknown-variable",
        "app_colour",
        "(not shown)",
        "every host",
        [
            (
                MORE,
                "variables.app_colour",
                {"hosts": ["cpu1", "memory1", "balanced1", "broker1", "client1"], "near": []},
            )
        ],
    ),
    (
        "inventory/renamed-variable",
        "fleet_formerly",
        "(not shown)",
        "cpu1",
        [(MORE, "variables.fleet_formerly", {"hosts": ["cpu1"], "near": []})],
    ),
    ("model/renamed-key", f"{CPU}.fleet_formerly", "3", None, [(MODEL, "pools.cpu.fleet_formerly", 3)]),
    (
        "inventory/another-model",
        "fleet_pools",
        "(of this host)",
        "cpu1",
        [(HOST, "cpu1.differs", ["fleet_pools"])],
    ),
    (
        "os/unsupported",
        "ansible_facts.distribution",
        "Rocky 9.4",
        "cpu1",
        [(HOST, "cpu1.distribution", "Rocky"), (HOST, "cpu1.distribution_version", "9.4")],
    ),
    (
        "os/untested",
        "ansible_facts.distribution",
        "Ubuntu 24.04",
        "cpu1",
        [(HOST, "cpu1.distribution", "Ubuntu"), (HOST, "cpu1.distribution_version", "24.04")],
    ),
    # Versions
    (
        "versions/rabbitmq-too-old",
        "broker_version",
        "3.9",
        "broker1",
        [(HOST, "broker1.distribution", "Ubuntu"), (HOST, "broker1.distribution_version", "22.04")],
    ),
    (
        "versions/trusting-broker",
        "broker_version",
        "3.10",
        "broker1",
        [(HOST, "broker1.distribution_version", "12.5"), (MODEL, "pools.io.calls", ["cpu"])],
    ),
    ("versions/untested", "broker_version", "4.1", "broker1", [(HOST, "broker1.broker_version", "4.1.3")]),
    ("versions/unknown", "broker_version", "newest", "broker1", [(HOST, "broker1.broker_version", "newest")]),
    ("versions/unknown", "broker_version", "None", "broker1", [(HOST, "broker1.distribution", "Rocky")]),
    (
        "versions/unknown",
        "fleet_app.requirements",
        "None",
        None,
        [(MORE, "application.versions.kombu", DELETE)],
    ),
    (
        "versions/untested",
        "fleet_app.requirements",
        "celery 5.8.0",
        "requirements.lock",
        [(MORE, "application.versions.celery", "5.8.0")],
    ),
    (
        "versions/celery-too-old",
        "fleet_app.requirements",
        "celery 5.4.0",
        "requirements.lock",
        [(MORE, "application.versions.celery", "5.4.0")],
    ),
    (
        "versions/celery-too-old",
        "fleet_app.requirements",
        "kombu 5.3.7",
        "requirements.lock",
        [(MORE, "application.versions.kombu", "5.3.7")],
    ),
    (
        "controller/precedence",
        "ansible.cfg",
        "/etc/ansible/ansible.cfg",
        "the controller",
        [(MORE, "precedence", VARIABLES), (MORE, "config", "/etc/ansible/ansible.cfg")],
    ),
    *(
        (
            "inventory/another-fleet",
            "fleet_name",
            "celery_fleet",
            host,
            [(GROUP, group, [host]), (HOST, f"{host}.fleets", {part: "staging"})],
        )
        for part, group, host in (
            ("workers", "cpu_servers", "cpu1"),
            ("workers", "clients", "client1"),
            ("brokers", "brokers", "broker1"),
            ("results", "results", "client1"),
        )
    ),
    (
        "inventory/another-fleet",
        "fleet_name",
        "staging",
        "cpu1",
        [(MODEL, "name", "staging"), (HOST, "cpu1.fleets", {"workers": "celery_fleet"})],
    ),
    (
        "model/bad-value",
        "fleet_name",
        "Staging-2",
        "group_vars/all/fleet.yml",
        [(MODEL, "name", "Staging-2")],
    ),
    (
        "versions/older-kit",
        "ansible_facts.fleet_kit",
        "1.10.0",
        "cpu1",
        [(MORE, "kit", "1.9.1"), (HOST, "cpu1.kit", "1.10.0")],
    ),
    (
        "versions/transient-queues",
        "fleet_app.requirements",
        "celery 5.5.3",
        "requirements.lock",
        [(MORE, "application.versions.celery", "5.5.3"), (HOST, "broker1.broker_version", "4.3.0")],
    ),
    (
        "versions/refused-broker",
        "broker_version",
        "4.2.6",
        "broker1",
        [(HOST, "broker1.broker_version", "4.2.6")],
    ),
    # What is there counts more than what the distribution has.
    (
        "versions/refused-broker",
        "broker_version",
        "4.2.6-1",
        "broker1",
        [(HOST, "broker1.broker_package", {"installed": "4.2.6-1", "candidate": "4.0.5-8"})],
    ),
    (
        "versions/refused-broker",
        "broker_version",
        "4.3.0-1",
        "broker1",
        [(HOST, "broker1.broker_source", {"version": "4.3.0-1"})],
    ),
    (
        "versions/refused-broker",
        "broker_version",
        "4.3.0-1",
        "broker1",
        [(HOST, "broker1.broker_package", {"installed": "", "candidate": "4.3.0-1"})],
    ),
    (
        "versions/another-series",
        "broker_package_source",
        "4.3.6-1",
        "broker1",
        [(HOST, "broker1.broker_package", {"installed": "4.0.5-8", "candidate": "4.3.6-1"})],
    ),
    (
        "versions/no-consumer-timeout",
        "fleet_pools.io.queue_type",
        "classic",
        None,
        [(MODEL, "pools.io.queue_type", "classic"), (HOST, "broker1.broker_version", "4.3.0")],
    ),
    (
        "versions/mixed-brokers",
        "broker_version",
        "broker1: 4.0, client1: 3.10",
        None,
        [
            (GROUP, "brokers", ["broker1", "client1"]),
            (HOST, "client1.distribution_version", "12"),
        ],
    ),
    (
        "clients/no-such-user",
        "fleet_client_users",
        "www-dta",
        "client1",
        [
            (GROUP, "clients", ["client1"]),
            (HOST, "client1.client_users", ["www-data", "www-dta"]),
            (HOST, "client1.accounts", ["www-data"]),
        ],
    ),
    (
        "model/bad-value",
        "fleet_client_users.0",
        "www data; rm",
        "the environment's group_vars",
        [(GROUP, "clients", ["client1"]), (HOST, "client1.client_users", ["www data; rm"])],
    ),
    (
        "model/bad-value",
        "fleet_client_users",
        "www-data",
        None,
        [(GROUP, "clients", ["client1"]), (HOST, "client1.client_users", "www-data")],
    ),
    # Environments
    (
        "app/plain-secret",
        "fleet_app.environment.DATABASE_URL",
        "(not shown)",
        "group_vars/all/app.yml",
        [(MODEL, "app.environment.DATABASE_URL", "postgres://shop:hunter2@db1/shop")],
    ),
    (
        "app/plain-secret",
        "fleet_pools.io.environment.STRIPE_API_KEY",
        "(not shown)",
        None,
        [(MODEL, "pools.io.environment.STRIPE_API_KEY", "hunter2")],
    ),
    (
        "app/plain-secret",
        "fleet_host_pools.cpu.environment.SMTP_PASSWORD",
        "(not shown)",
        "cpu1",
        [(HOST, "cpu1.pools", {"cpu": {"environment": {"SMTP_PASSWORD": "hunter2"}}})],
    ),
    (
        "app/plain-secret",
        "fleet_app.files./etc/shop/ini",
        "(not shown)",
        None,
        [(MODEL, "app.files./etc/shop/ini", {"content": "[db]\nurl = postgres://shop:hunter2@db1\n"})],
    ),
    (
        "app/secret-and-environment",
        "fleet_app.secrets.REGION",
        "(not shown)",
        None,
        [(MODEL, "app.environment.REGION", "eu"), (MODEL, "app.secrets.REGION", {"value": "hunter2"})],
    ),
    (
        "app/secret-and-environment",
        "fleet_pools.io.environment.REGION",
        "(not shown)",
        None,
        [
            (MODEL, "pools.io.environment.REGION", "eu"),
            (MODEL, "app.secrets.REGION", {"value": "hunter2", "readers": ["io"]}),
        ],
    ),
    (
        "app/file-content",
        "fleet_app.files./etc/shop/ini.source",
        "/srv/site/none",
        None,
        [(MODEL, "app.files./etc/shop/ini", {"source": "/srv/site/none"})],
    ),
    # Acceptance
    (
        "accept/no-reason",
        "fleet_accepted_findings.limits/not-enforced",
        "''",
        None,
        [(MODEL, "accepted", {"limits/not-enforced": ""})],
    ),
    (
        "accept/no-reason",
        "fleet_accepted_findings.limits/not-enforced",
        "True",
        None,
        [(MODEL, "accepted", {"limits/not-enforced": True})],
    ),
    (
        "accept/unknown",
        "fleet_accepted_findings.limits/not-enforcd",
        "limits/not-enforcd",
        None,
        [(MODEL, "accepted", {"limits/not-enforcd": "calls have timeouts"})],
    ),
    (
        "accept/impossible",
        "fleet_accepted_findings.limits/missing@cpu1",
        "limits/missing@cpu1",
        None,
        [(MODEL, "accepted", {"limits/missing@cpu1": "never hangs"})],
    ),
    (
        "accept/unused",
        "fleet_accepted_findings.queue/drops-oldest",
        "queue/drops-oldest",
        None,
        [(MODEL, "accepted", {"queue/drops-oldest": "samples may be lost"})],
    ),
    ("model/bad-value", "fleet_accepted_findings", "all", None, [(MODEL, "accepted", "all")]),
]


@pytest.fixture(autouse=True)
def _former_name(monkeypatch):
    monkeypatch.setitem(RENAMED, "fleet_formerly", "fleet_now")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_a_broken_fleet_is_told_by_name(sound, case):
    id, variable, value, where, changes = case
    for part, path, new in changes:
        getattr(sound, f"{part}_at")(path, new)
    found = sound.look()
    matching = [f for f in found if (f.id, f.variable, f.value) == (id, variable, value)]
    assert matching, report(found)
    if where:
        assert where in {finding.where for finding in matching}
    assert {finding.severity for finding in matching} == {CATALOGUE[id].severity}
    text = report(found)
    assert f"[{CATALOGUE[id].severity}] {id}: {CATALOGUE[id].title}" in text
    assert f"{variable} = {value}" in text
    refused = any(finding.severity == "error" for finding in found)
    assert text.endswith(": refused." if refused else ".")


def test_a_sound_fleet_is_told_in_one_line(sound):
    assert report(sound.look()) == "No finding."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSH_KEY", "/etc/shop/key"),
        ("STRIPE_PUBLIC_KEY", "pk_live_1"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_1"),
        ("REQUIRE_TOKEN", "true"),
        ("REQUIRE_TOKEN", True),
        ("TOKENIZERS_PARALLELISM", "no"),
        ("BROKER_URL", "https://shop.example/a:b@c"),
        ("MONKEY", "seven"),
    ],
)
def test_what_only_sounds_like_a_secret_is_none(sound, name, value):
    sound.model["app"]["environment"][name] = value if not isinstance(value, bool) else str(value)
    assert report(sound.look()) == "No finding."


def test_secrets_files_and_places_of_an_application_have_no_finding(sound, tmp_path):
    (tmp_path / "settings.py").write_text("DEBUG = False")
    sound.model["app"] |= {
        "secrets": {
            "DATABASE_URL": "postgres://shop:hunter2@db1/shop",
            "PIN": 1234,
            "GOOGLE_KEY": {
                "value": "{}\n",
                "as": "file",
                "readers": ["io", "scheduler", "clients", "commands"],
            },
            "KEYSTORE": {"value": "AAH/\n", "as": "file", "encoding": "base64"},
        },
        "files": {
            "/etc/shop/shop.ini": {"content": "[shop]\n", "owner": "www-data", "mode": "0440"},
            "local_settings.py": {"source": str(tmp_path / "settings.py")},
        },
        "writable": {"/srv/uploads": {}, "/mnt/nfs/media": {"owner": "www-data", "mode": "2775"}},
        "working_directory": ".",
        "packages": ["libpq5", "ffmpeg=7:5.*"],
    }
    assert report(sound.look()) == "No finding."


def test_a_broker_that_the_site_has_already_needs_no_group(sound):
    sound.model["broker"] = {**EXISTING, "tls": True, "ca": "/srv/site/ca.pem", "user_prefix": "shop_"}
    del sound.groups["brokers"], sound.hosts["broker1"]
    assert report(sound.look()) == "No finding."


def test_a_host_may_carry_other_parts_of_another_fleet(sound):
    sound.model["name"] = "staging"
    sound.hosts["cpu1"]["fleets"] = {
        "workers": "staging",
        "brokers": "celery_fleet",
        "results": "celery_fleet",
    }
    assert report(sound.look()) == "No finding."


@pytest.mark.parametrize("group", ["schedulers", "beat"])
def test_two_hosts_may_run_the_scheduler_whatever_their_group_is_called(sound, group):
    sound.groups[group] = ["cpu1", "memory1"]
    assert report(sound.look()) == "No finding."


def test_at_least_eighty_different_faults_are_tried():
    tried = {(case[0], case[1], case[2]) for case in CASES} | {
        (case[0], case[1], str(case[2])) for case in BROKEN
    }
    assert len(tried) >= 80


def test_every_finding_is_explained_and_tried():
    """What the code can report, what the catalogue explains and what these tests break are the same."""
    code = "".join(
        path.read_text() for path in Path(fleet.__file__).parent.rglob("*.py") if path.stem != "catalogue"
    )
    areas = "|".join({id.partition("/")[0] for id in CATALOGUE})
    named = set(re.findall(rf'"((?:{areas})/[a-z-]+)"', code))
    for pattern, names in {
        'f"sizing/{kind}"': ("too-little-memory", "too-few-cores"),
        'f"{layer}/unknown-pool"': (),
        'f"inventory/{id}"': ("renamed-variable", "misspelt-variable", "unknown-variable"),
    }.items():
        assert pattern in code
        named |= {f"{pattern[2:].partition('/')[0]}/{name}" for name in names}
    named |= {f"{layer}/unknown-pool" for layer in ("profile", "host", "environment", "tuned")}
    assert named == CATALOGUE.keys()
    tried = {case[0] for case in (*CASES, *BROKEN, *BROKEN_SOURCES, *BROKEN_LOCKS)}
    # Without a source, an index or a broker there is none of these.
    elsewhere = {
        *("source/unreadable", "lock/unfetched", "lock/unbuildable"),
        *("broker/forbidden", "broker/taken-user", "broker/another-fleet", "broker/another-file"),
    }
    assert tried | elsewhere == CATALOGUE.keys()
    for kind in CATALOGUE.values():
        assert all([kind.title, kind.why, kind.remedy, kind.source])


# Acceptance --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", "@balanced1", "@fleet_host_pools.io.concurrency"])
def test_an_accepted_finding_is_told_with_its_reason_and_does_not_refuse(sound, scope):
    sound.hosts["balanced1"]["pools"] = {"io": {"concurrency": 60}}
    sound.model["accepted"] = {f"sizing/over-budget{scope}": "they sleep\nmostly"}
    (found,) = sound.look()
    assert (found.id, found.severity) == ("sizing/over-budget", "accepted")
    text = report([found])
    assert "they sleep" in text
    assert text.endswith("1 accepted.")


@pytest.mark.parametrize("scope", ["@cpu1", "@fleet_pools.io.concurrency"])
def test_an_acceptance_for_another_place_does_not_count(sound, scope):
    sound.hosts["balanced1"]["pools"] = {"io": {"concurrency": 60}}
    sound.model["accepted"] = {f"sizing/over-budget{scope}": "they sleep mostly"}
    assert {(f.id, f.severity) for f in sound.look()} == {
        ("sizing/over-budget", "error"),
        ("accept/unused", "warning"),
    }


def test_an_acceptance_is_not_missed_before_the_hosts_were_asked(sound):
    sound.model["accepted"] = {"sizing/over-budget": "they sleep mostly"}
    sound.more["contacted"] = False
    assert sound.look() == []


def test_what_was_accepted_is_planned(model):
    from fleet.broker.topology import topology
    from fleet.files.fleet_file import fleet_file
    from fleet.findings import ModelError

    own = {"cpu": {"concurrency": 20, "prefetch_multiplier": 2, "demand": {"memory_mib": 1024}}}
    hardware = {"cores": 16, "memory_mib": 32102}
    ask = ("cpu1", ["cpu_servers"], own, hardware, "cpu1")
    with pytest.raises(ModelError, match="2 errors: refused"):
        host_plan(model, *ask)
    model["accepted"] = {
        "mistake/high-prefetch": "tasks of a second",
        "mistake/more-tasks-than-cores@cpu1": "half of them wait for a licence",
    }
    assert host_plan(model, *ask)["pools"]["cpu"]["concurrency"] == 20
    assert topology(model, {"cpu1": {"groups": ["cpu_servers"], "pools": own}})
    assert fleet_file(model)


# What is known twice -----------------------------------------------------------------------------


def test_the_limit_of_open_files_is_the_worker_s():
    defaults = yaml.safe_load((ROOT / "roles/worker/defaults/main.yml").read_text())
    assert defaults["worker_open_files"] == OPEN_FILES


def test_every_known_distribution_has_a_known_broker():
    assert PACKAGED.keys() == SYSTEMS.keys()


def test_findings_of_many_hosts_are_one_paragraph(sound):
    for number in range(1000):
        sound.hosts[f"w{number}"] = sound.hosts["cpu1"] | {"nodename": f"w{number}"}
        sound.groups["workers"].append(f"w{number}")
    sound.model["pools"]["cpu"]["concurrency"] = 15
    sound.model["broker"]["max_connections"] = 100_000
    text = report(sound.look())
    assert "cpu1, w0, w1, w2, w3 and 996 more" in text
    assert len(text.splitlines()) < 12
