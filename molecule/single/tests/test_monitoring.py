"""Monitoring of everything on one server: who may read, Flower, a known load, and faults that are told of."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
import yaml
from support.scenario import ROOT, Scenario, serving, until

from trials.ledger import lost
from trials.load import LEDGERS, Load

NAME = "single-1"
INVENTORY = ("-i", "molecule/single/inventory")
KEPT = ROOT / ".cache" / "monitoring"

# Tasks a second by kind, most of them where a kill makes many come again; how many at least.
RATES = {"compute": 10, "fetch": 80, "tidy": 30}
LEAST = 3000
# Processes that are killed. Also the first loss on a host that has just begun to be watched is an alert.
KILLED = 1
# Seconds for which a task holds its slot at most.
HOLD = 200
# Alerts that say nothing of this fleet: one always fires, and the disk is the machine's.
OTHERS = {"Watchdog", "BrokerDiskWillFill", "HostDisk"}
# Seconds. What is waited for comes in a fraction of it.
PATIENCE = 300

FETCH = """
import ssl, sys, urllib.request
url, authority, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=authority) if authority else None
if certificate:
    context.load_cert_chain(certificate)
print(urllib.request.urlopen(url, context=context, timeout=30).read().decode())
"""
# What somebody can do who has taken Flower over, with its program, its settings and its password.
TAKEN_OVER = """
import sys
from amqp.exceptions import AccessRefused
from celery_fleet import ControlRefusedError
from celery_fleet.publishing.unconfirmed import FleetControl
from celery_fleet_flower import app
def tried(what):
    try:
        what()
    except (AccessRefused, ControlRefusedError) as error:
        return type(error).__name__
    return "done"
def read(queue):
    with app.connection_for_read() as connection:
        connection.default_channel.basic_get(queue)
print(tried(FleetControl(app).shutdown), *(tried(lambda: read(queue)) for queue in sys.argv[1:]))
"""
PUBLISH = """
import sys
sys.path.insert(0, ".")
from load.with_demo import app
run, queue, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
with app.producer_or_acquire() as producer:
    for number in range(count):
        app.send_task("load.hold", (run, number, seconds), queue=queue, producer=producer)
"""

Host = Callable[[str], Any]
Alert = tuple[str, str]


class Receiver(ThreadingHTTPServer):
    """What the fleet's alerts are sent to, at the address and with the token of the inventory.

    Attributes:
        told: Each alert that it was told of, in the order in which it came.
    """

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        super().__init__((address.hostname or "", address.port or 80), _Webhook)
        self.token, self.told = token, list[dict[str, Any]]()

    def fired(self, since: int = 0) -> set[Alert]:
        """Return the name of each alert that it was told of, and its queue or pool.

        Args:
            since: How much it had been told before.
        """
        labels = [alert["labels"] for alert in self.told[since:] if alert["status"] == "firing"]
        return {
            (each["alertname"], each.get("queue") or each.get("pool", ""))
            for each in labels
            if each["alertname"] not in OTHERS
        }


class _Webhook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take a notification of who knows the token."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == f"Bearer {self.server.token}"
        if known:
            self.server.told += json.loads(content)["alerts"]
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Rows(HTMLParser):
    """The tables of a page, as a dictionary of each row.

    Args:
        page: The page.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[dict[str, str]] = []
        self._heads: list[str] = []
        self._cells: list[str] = []
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        """Begin a table, a row or a cell."""
        if tag == "table":
            self._heads = []
        elif tag == "tr":
            self._cells = []
        elif tag in ("th", "td"):
            self._in = tag
            (self._heads if tag == "th" else self._cells).append("")

    def handle_data(self, data: str) -> None:
        """Add to a cell."""
        if self._in:
            (self._heads if self._in == "th" else self._cells)[-1] += data

    def handle_endtag(self, tag: str) -> None:
        """End a cell or a row."""
        if tag in ("th", "td"):
            self._in = ""
        elif tag == "tr" and self._cells and len(self._cells) == len(self._heads):
            self.rows.append(dict(zip(self._heads, self._cells, strict=True)))


class Monitoring:
    """The servers of monitoring, which listen on their host only."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def page(self, path: str, *, port: int = 9090, **query: str) -> str:
        """Return what Prometheus answers, or whoever has the port."""
        url = f"http://127.0.0.1:{port}{path}?{urlencode(query)}"
        return str(self.server.check_output("python3 -c %s %s '' ''", FETCH, url))

    def values(self, expression: str) -> dict[tuple[str, ...], float]:
        """Return the value of each series of an expression, by the values of its labels in their order."""
        found = json.loads(self.page("/api/v1/query", query=expression))["data"]["result"]
        return {
            tuple(value for _, value in sorted(series["metric"].items())): float(series["value"][1])
            for series in found
        }

    def alerts(self) -> set[str]:
        """Return the names of the alerts that fire or are about to."""
        found = json.loads(self.page("/api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found} - OTHERS

    def silenced(self) -> set[str]:
        """Return the names of the alerts that fire and say nothing beside others."""
        found = json.loads(self.page("/api/v2/alerts", port=9093))
        return {each["labels"]["alertname"] for each in found if each["status"]["inhibitedBy"]}

    def fired(self) -> set[str]:
        """Return the names of the alerts that have fired so far."""
        found = self.values('count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))')
        return {name for (name,) in found} - OTHERS


@pytest.fixture(scope="module")
def variables(scenario: Scenario) -> dict[str, Any]:
    return scenario.variables("worker_plan", "fleet_monitoring", "fleet_pools")[NAME]


@pytest.fixture(scope="module")
def pools(variables: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = variables["worker_plan"]["pools"]
    return found


@pytest.fixture(scope="module")
def monitoring(host: Host) -> Monitoring:
    return Monitoring(host(NAME))


@pytest.fixture(scope="module")
def receiver(variables: dict[str, Any]) -> Iterator[Receiver]:
    """Run it while the tests of this file do."""
    fields = variables["fleet_monitoring"]["receivers"]["test"]
    with Receiver(fields["url"], fields["token"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def publish(server: Any, run: str, queue: str, count: int, seconds: float = HOLD) -> None:
    """Publish tasks that hold a slot each, until the run is let go."""
    python = "cd /opt/demo/current && runuser -u celery-fleet -- env HOME=/tmp venv/bin/python -P"
    server.check_output(f"{python} -c %s %s %s %s %s", PUBLISH, run, queue, str(count), str(seconds))


def play(verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", f"playbooks/{verb}.yml", *INVENTORY, *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "celery_fleet.kit.messages"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_is_read_and_nothing_is_wrong(monitoring: Monitoring) -> None:
    """Also after a second run, which molecule has made: neither of them was a false alarm."""
    targets = until(
        lambda: (
            (found := json.loads(monitoring.page("/api/v1/targets"))["data"]["activeTargets"])
            and all(each["health"] == "up" for each in found)
            and found
        ),
        "every target is read",
        PATIENCE,
    )
    schemes = {each["labels"]["job"]: urlsplit(each["scrapeUrl"]).scheme for each in targets}
    assert schemes == {
        "celery_fleet": "https",
        "node": "https",
        "rabbitmq": "https",
        "rabbitmq_queues": "https",
        "prometheus": "http",
        "alertmanager": "http",
    }
    until(lambda: monitoring.values("celery_fleet:queue_pool"), "the rules are looked at", PATIENCE)
    assert monitoring.fired() == set()


def test_nobody_reads_without_a_certificate_and_nothing_else_is_open(
    scenario: Scenario, host: Host, monitoring: Monitoring
) -> None:
    server, address = host(NAME), scenario.address(NAME)
    directory = "/etc/celery-fleet-monitoring/tls"
    targets = json.loads(monitoring.page("/api/v1/targets"))["data"]["activeTargets"]
    for url in {each["scrapeUrl"] for each in targets if each["scrapeUrl"].startswith("https:")}:
        with_it = f"{directory}/prometheus.pem"
        read = server.run("python3 -c %s %s %s %s", FETCH, url, f"{directory}/ca.pem", with_it)
        assert read.rc == 0 and "# TYPE" in read.stdout, read.stderr
        without = server.run("python3 -c %s %s %s ''", FETCH, url, f"{directory}/ca.pem")
        assert without.rc != 0 and "# TYPE" not in without.stdout, url
    listening = server.check_output("ss --listening --tcp --numeric --no-header").splitlines()
    places = {line.split()[3] for line in listening}
    assert {"127.0.0.1:9090", "127.0.0.1:9093", f"{address}:9808"} <= places
    ports = {int(port): [] for port in (9090, 9093, 9094, 9808, 15691, 15692)}
    for place in places:
        where, _, port = place.rpartition(":")
        if int(port) in ports:
            ports[int(port)].append(where)
    assert {where for found in ports.values() for where in found} == {"127.0.0.1", address}
    assert ports[9094] == []


Page = Callable[[str, bool], tuple[int, str]]


@pytest.fixture(scope="module")
def page(scenario: Scenario, host: Host) -> Page:
    """What the machine that has the hosts, and is none of them, gets of a page without and with the login."""
    authorities = host(NAME).file("/etc/celery-fleet/ca.pem").content_string
    context = ssl.create_default_context(cadata=authorities)
    login = base64.b64encode(f"fleet:{scenario.secrets['web']}".encode()).decode()

    def ask(place: str, known: bool) -> tuple[int, str]:
        request = Request(f"https://{scenario.address(NAME)}:{place}")
        if known:
            request.add_header("Authorization", f"Basic {login}")
        try:
            with urlopen(request, context=context, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            return refused.code, ""

    return ask


@pytest.mark.parametrize("place", ["9090/consoles/fleet.html", "9093/api/v2/alerts", "5555/workers"])
def test_pages_ask_for_a_login(page: Page, place: str) -> None:
    assert page(place, False)[0] == 401
    assert page(place, True)[0] == 200


@pytest.mark.parametrize("place", ["metrics", "healthcheck", "api/workers", "api/tasks"])
def test_nobody_reads_flower_but_its_pages(page: Page, place: str) -> None:
    assert page(f"5555/{place}", True)[0] == 403


def test_flower_shows_every_worker_and_can_do_nothing(host: Host, pools: dict[str, Any], page: Page) -> None:
    server, unit = host(NAME), "celery-fleet-flower"
    workers = dict(serving(server, pool) for pool in pools.values())
    nodes = {*workers.values()}

    def living() -> set[str]:
        rows = json.loads(page("5555/workers?json=1", True)[1])["data"]
        return {row["hostname"] for row in rows if row["status"]}

    until(lambda: living() == nodes, f"Flower shows {nodes}", PATIENCE)
    python = server.check_output("ls /opt/celery-fleet-flower/environments/*/bin/python")
    variables = server.check_output(f"systemctl show --property=Environment --value {unit}")
    command = f"runuser -u {unit} -- env {variables} {python} -P -c %s {' '.join(pools['io']['queues'])}"
    refused = ["ControlRefusedError", *["AccessRefused"] * len(pools["io"]["queues"])]
    assert server.check_output(f"cd / && {command}", TAKEN_OVER).split() == refused
    assert server.check_output(f"systemctl is-active {' '.join(workers)}").split() == ["active"] * len(pools)


def test_what_is_counted_is_what_ran_across_a_kill_and_a_rollover(
    scenario: Scenario, host: Host, pools: dict[str, Any], monitoring: Monitoring, receiver: Receiver
) -> None:
    """Processes and a whole worker are killed while all slots are held, so that nothing ends meanwhile."""
    server, io = host(NAME), pools["io"]
    slots = io["concurrency"]
    load = Load(scenario, host, application="demo", kept=KEPT, least=LEAST, rates=RATES)
    losses = 'sum(celery_fleet_task_failures_total{task="load.hold", reason="lost"})'

    def begun() -> list[str]:
        """Return the process of each start of a task that holds a slot; its ledger's name ends with it."""
        found = server.run(f"cd {LEDGERS}/{load.run} && grep --with-filename . began-*").stdout
        return [line.partition(".jsonl:")[0].rpartition("-")[2] for line in found.splitlines()]

    try:
        load.start()
        until(lambda: load.confirmed() > LEAST / 10, "the load flows", PATIENCE)
        publish(server, load.run, next(iter(io["queues"])), slots)
        for killed in range(KILLED):
            until(lambda killed=killed: len(begun()) >= slots + killed, "every slot is held", PATIENCE)
            server.check_output(f"kill -KILL {begun()[-1]}")
            until(lambda killed=killed: monitoring.values(losses) == {(): killed + 1}, "its loss", PATIENCE)
        until(lambda: len(begun()) >= slots + KILLED, "every slot is held", PATIENCE)
        server.check_output(f"systemctl kill --kill-whom=main --signal=KILL {serving(server, io)[0]}")
        rollover = play("restart", "-e", "fleet_pool=cpu")
        assert rollover.returncode == 0, rollover.stdout
        until(lambda: len(begun()) >= 2 * slots + KILLED, "the worker's tasks have come again", PATIENCE)
        server.check_output(f"touch {LEDGERS}/{load.run}/free")
        run = load.finish(PATIENCE)
    except BaseException:
        load.abandon()
        raise
    assert lost(run) == [] and len(run.sent) >= LEAST
    ran = Counter(f"load.{each.key.kind}" for each in run.ran)
    assert ran == Counter(f"load.{each.key.kind}" for each in run.sent) + Counter({"load.hold": slots})

    counted = 'sum by (task) (celery_fleet_tasks_total{task=~"load.*", state="success"})'
    until(lambda: monitoring.values(counted) == {(task,): number for task, number in ran.items()},
          f"Prometheus has {ran}", PATIENCE)  # fmt: skip
    failed = monitoring.values('sum by (task, reason) (celery_fleet_task_failures_total{task=~"load.*"}) > 0')
    assert failed == {("lost", "load.hold"): KILLED}
    until(lambda: ("FleetTasksLost", "io") in receiver.fired(), "the lost process is told of", PATIENCE)


def test_consoles_show_what_status_says(monitoring: Monitoring) -> None:
    """Each pool's slots and what waits for it, and what each worker runs and holds."""

    def alike() -> bool:
        # Read anew each time, because the broker's figures lag behind by seconds and the load has just ended.
        status = json.loads(play("status", "-e", "status_output=json").stdout)
        assert status["fine"], status["warnings"]
        said = {
            each["pool"]: (each["slots"], len(each["active"]), each["reserved"])
            for each in status["hosts"][NAME]["instances"]
            if each["pool"] != "general"  # the schedule's
        }
        waiting = {
            pool: sum(each["ready"] for each in status["queues"] if each["pool"] == pool) for pool in said
        }
        tables = Rows(monitoring.page("/consoles/fleet.html")).rows
        fleet = {row["pool"]: row for row in tables if "waiting" in row}
        workers = Rows(monitoring.page("/consoles/hosts.html")).rows
        return {pool: (int(fleet[pool]["slots"]), int(fleet[pool]["waiting"])) for pool in said} == {
            pool: (slots, waiting[pool]) for pool, (slots, _, _) in said.items()
        } and {
            row["pool"]: (int(row["slots"]), int(row["running"]), int(row["held"]))
            for row in workers
            if "worker" in row and row["pool"] in said
        } == said

    until(alike, "the consoles show what status says", PATIENCE)


def test_each_fault_fires_its_alert_and_no_other(
    host: Host, variables: dict[str, Any], pools: dict[str, Any], monitoring: Monitoring, receiver: Receiver
) -> None:
    """A worker and the scheduler are stopped, and a queue is filled."""
    server, memory, before = host(NAME), pools["memory"], len(receiver.told)
    queues = list(memory["queues"])
    length = variables["fleet_pools"]["memory"]["queues"][queues[0]]["max_length"]
    until(lambda: monitoring.alerts() <= {"FleetTasksLost"}, "the last fault is over", PATIENCE)
    expected = {
        ("FleetWorkerMissing", "memory"),
        *(("FleetQueueWithoutConsumers", queue) for queue in queues),
        ("FleetQueueFull", queues[0]),
        ("FleetSchedulerNone", ""),
    }

    def fired() -> set[Alert]:
        return receiver.fired(before) - {("FleetTasksLost", "io")}

    unit = serving(server, memory)[0]
    server.check_output(f"systemctl stop {unit} celery-fleet-beat")
    try:
        publish(server, f"faults-{int(time.time())}", queues[0], length, 0)
        until(lambda: fired() >= expected, f"{expected} are told of", PATIENCE)
    finally:
        server.check_output(f"systemctl start {unit} celery-fleet-beat")
    until(lambda: monitoring.alerts() <= {"FleetTasksLost"}, "no alert is left", PATIENCE)
    assert fired() == expected


def test_a_stopped_broker_is_told_of_and_silences_what_follows(
    host: Host, monitoring: Monitoring, receiver: Receiver
) -> None:
    """No worker and no scheduler reaches it, which nobody need be told of."""
    server, before = host(NAME), len(receiver.told)
    rules = yaml.safe_load(server.file("/etc/celery-fleet-monitoring/alertmanager.yml").content_string)
    (implied,) = (
        re.compile(rule["target_matchers"][0].split('"')[1]).fullmatch
        for rule in rules["inhibit_rules"]
        if rule["source_matchers"] == ['alertname="BrokerNoMajority"']
    )
    follow = {"BrokerDown", "FleetWorkerWaits", "FleetSchedulerNone"}

    def fired() -> set[str]:
        # In a tenth of their times one of those that follow may come first.
        return {name for name, _ in receiver.fired(before) if not implied(name)} - {"FleetTasksLost"}

    server.check_output("systemctl stop rabbitmq-server")
    try:
        until(lambda: monitoring.silenced() >= follow, f"{follow} say nothing", PATIENCE)
        until(lambda: fired() == {"BrokerNoMajority"}, "the broker is told of", PATIENCE)
    finally:
        server.check_output("systemctl start rabbitmq-server")
    consuming = 'count(celery_fleet_worker_state{state="consuming"} == 1)'
    until(lambda: monitoring.values(consuming) == {(): 4}, "every pool consumes again", PATIENCE)
    until(lambda: monitoring.alerts() <= {"FleetTasksLost"}, "no alert is left", PATIENCE)
    assert fired() == {"BrokerNoMajority"}
