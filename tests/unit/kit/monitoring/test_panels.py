"""Dashboards and consoles: each expression gives the known value over a known load."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet.host.metrics import METRICS, PREFIX, Kind
from fleet.monitoring.consoles import consoles
from fleet.monitoring.grafana import DIRECTORY, dashboards, provisioning
from fleet.monitoring.panels import PAGES, SELECTED, Graph
from fleet.monitoring.rules import recording_rules
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.fleet_model import HOSTS, LOADED, ROOT
from support.prometheus import BROKER_METRICS, command

# Minutes. An hour of it is looked back at.
MINUTES = 90
IO = {"instance": "balanced1", "pool": "io"}
CPU = {"instance": "cpu1", "pool": "cpu"}
IO_QUEUE, CPU_QUEUE = {**IO, "queue": "io_api_calls"}, {**CPU, "queue": "cpu_ml_training"}
SEND, TRAIN = {**IO, "task": "a.send"}, {**CPU, "task": "a.train"}
IO_1, CPU_1 = {**IO, "worker": "io_1"}, {**CPU, "worker": "cpu_1"}
RAISED = {"reason": "exception", "exception": "OSError"}
LOST = {"reason": "lost", "exception": "WorkerLostError"}
NIGHT = {"instance": "balanced1", "entry": "night"}
IO_READY = {"vhost": "celery_fleet", "queue": "io_api_calls"}
CPU_READY = {"vhost": "celery_fleet", "queue": "cpu_ml_training"}
DEAD = {"vhost": "celery_fleet", "queue": "io_tasks_dead"}
BROKER = {"instance": "broker1"}
LATE = {"alertname": "FleetWaitHigh", "severity": "warning", "pool": "cpu"}
RISING = {"alertname": "FleetPoolSaturated", "severity": "warning", "pool": "io"}


def each_minute(value: float) -> str:
    """Return a counter that grows so much a minute."""
    return f"0+{value}x{MINUTES}"


def always(value: float) -> str:
    """Return a gauge."""
    return f"{value}x{MINUTES}"


def after(value: float) -> str:
    """Return a counter that grew once, half an hour ago."""
    return f"0x{MINUTES - 30} {value}x29"


# Ten tasks a second wait less than half a second in `io`; one in ten seconds waits for hours in `cpu`.
LOAD: list[tuple[str, dict[str, str], str]] = [
    ("up", {"job": "celery_fleet", "instance": "balanced1"}, always(1)),
    ("up", {"job": "celery_fleet", "instance": "cpu1"}, always(1)),
    ("up", {"job": "celery_fleet", "instance": "memory1"}, always(0)),
    ("up", {"job": "rabbitmq", **BROKER}, always(1)),
    ("ALERTS", {**LATE, "alertstate": "firing"}, always(1)),
    ("ALERTS_FOR_STATE", LATE, always(4800)),
    ("ALERTS", {**RISING, "alertstate": "pending"}, always(1)),
    ("ALERTS_FOR_STATE", RISING, always(5300)),
    ("ALERTS", {"alertname": "Watchdog", "severity": "info", "alertstate": "firing"}, always(1)),
    ("ALERTS_FOR_STATE", {"alertname": "Watchdog", "severity": "info"}, always(0)),
    ("celery_fleet_queue_tasks_total", {**IO_QUEUE, "state": "success"}, each_minute(600)),
    ("celery_fleet_queue_tasks_total", {**IO_QUEUE, "state": "failure"}, each_minute(6)),
    ("celery_fleet_queue_tasks_total", {**CPU_QUEUE, "state": "success"}, each_minute(6)),
    ("celery_fleet_tasks_total", {**SEND, "state": "success"}, each_minute(597)),
    ("celery_fleet_tasks_total", {**SEND, "state": "failure"}, each_minute(3)),
    ("celery_fleet_tasks_total", {**SEND, "state": "retry"}, each_minute(6)),
    ("celery_fleet_tasks_total", {**TRAIN, "state": "success"}, each_minute(6)),
    (
        "celery_fleet_task_failures_total",
        {**SEND, **RAISED},
        each_minute(3),
    ),
    (
        "celery_fleet_task_failures_total",
        {**TRAIN, **LOST},
        after(2),
    ),
    ("celery_fleet_task_redeliveries_total", IO_QUEUE, each_minute(2)),
    ("celery_fleet_task_wait_seconds_bucket", {**IO_QUEUE, "le": "0.1"}, each_minute(300)),
    ("celery_fleet_task_wait_seconds_bucket", {**IO_QUEUE, "le": "0.5"}, each_minute(600)),
    ("celery_fleet_task_wait_seconds_bucket", {**IO_QUEUE, "le": "+Inf"}, each_minute(600)),
    ("celery_fleet_task_wait_seconds_bucket", {**CPU_QUEUE, "le": "3600"}, each_minute(3)),
    ("celery_fleet_task_wait_seconds_bucket", {**CPU_QUEUE, "le": "14400"}, each_minute(6)),
    ("celery_fleet_task_wait_seconds_bucket", {**CPU_QUEUE, "le": "+Inf"}, each_minute(6)),
    ("celery_fleet_task_runtime_seconds_bucket", {**SEND, "le": "1"}, each_minute(300)),
    ("celery_fleet_task_runtime_seconds_bucket", {**SEND, "le": "3"}, each_minute(600)),
    ("celery_fleet_task_runtime_seconds_bucket", {**SEND, "le": "+Inf"}, each_minute(600)),
    ("celery_fleet_task_runtime_seconds_sum", SEND, each_minute(600)),
    ("celery_fleet_task_runtime_seconds_count", SEND, each_minute(600)),
    ("celery_fleet_task_runtime_seconds_bucket", {**TRAIN, "le": "60"}, each_minute(3)),
    ("celery_fleet_task_runtime_seconds_bucket", {**TRAIN, "le": "120"}, each_minute(6)),
    ("celery_fleet_task_runtime_seconds_bucket", {**TRAIN, "le": "+Inf"}, each_minute(6)),
    ("celery_fleet_task_runtime_seconds_sum", TRAIN, each_minute(360)),
    ("celery_fleet_task_runtime_seconds_count", TRAIN, each_minute(6)),
    ("celery_fleet_busy_seconds_total", IO, each_minute(750)),
    ("celery_fleet_slot_seconds_total", IO, each_minute(3000)),
    ("celery_fleet_busy_seconds_total", CPU, each_minute(720)),
    ("celery_fleet_slot_seconds_total", CPU, each_minute(720)),
    ("celery_fleet_child_exits_total", {**IO, "reason": "recycled"}, each_minute(1)),
    ("celery_fleet_worker_info", {**IO_1, "release": "r2"}, always(1)),
    ("celery_fleet_worker_info", {**CPU_1, "release": "r1"}, always(1)),
    ("celery_fleet_worker_state", {**IO_1, "state": "consuming"}, always(1)),
    ("celery_fleet_worker_state", {**IO_1, "state": "silent"}, always(0)),
    ("celery_fleet_worker_state", {**CPU_1, "state": "consuming"}, always(1)),
    ("celery_fleet_worker_slots", IO_1, always(50)),
    ("celery_fleet_worker_slots", CPU_1, always(9)),
    ("celery_fleet_worker_active_tasks", IO_1, always(10)),
    ("celery_fleet_worker_active_tasks", CPU_1, always(9)),
    ("celery_fleet_worker_reserved_tasks", IO_1, always(20)),
    ("celery_fleet_worker_oldest_task_start_timestamp_seconds", CPU_1, always(5000)),
    ("celery_fleet_worker_last_task_timestamp_seconds", IO_1, always(5399)),
    ("celery_fleet_worker_start_timestamp_seconds", IO_1, always(1800)),
    ("celery_fleet_worker_restarts_total", CPU_1, after(2)),
    ("celery_fleet_pool_memory_bytes", IO, always(300)),
    ("celery_fleet_pool_memory_limit_bytes", {**IO, "kind": "high"}, always(900)),
    ("celery_fleet_pool_memory_limit_bytes", {**IO, "kind": "max"}, always(1000)),
    ("celery_fleet_pool_cpu_seconds_total", CPU, each_minute(540)),
    ("celery_fleet_pool_oom_kills_total", IO, after(1)),
    ("celery_fleet_pool_drained", IO, always(0)),
    ("celery_fleet_pool_drained", CPU, always(1)),
    ("celery_fleet_pool_pressure_seconds_total", {**CPU, "resource": "cpu"}, each_minute(6)),
    ("celery_fleet_beat_role", {"instance": "balanced1", "role": "active"}, always(1)),
    ("celery_fleet_beat_role", {"instance": "balanced1", "role": "standby"}, always(0)),
    ("celery_fleet_beat_role", {"instance": "cpu1", "role": "active"}, always(0)),
    ("celery_fleet_beat_role", {"instance": "cpu1", "role": "standby"}, always(1)),
    ("celery_fleet_beat_entries", {"instance": "balanced1"}, always(2)),
    ("celery_fleet_beat_state_timestamp_seconds", {"instance": "balanced1"}, always(5398)),
    (
        "celery_fleet_beat_last_run_timestamp_seconds",
        NIGHT,
        always(5040),
    ),
    (
        "celery_fleet_beat_next_run_timestamp_seconds",
        NIGHT,
        always(5340),
    ),
    (
        "rabbitmq_detailed_queue_messages_ready",
        IO_READY,
        always(500),
    ),
    (
        "rabbitmq_detailed_queue_messages_ready",
        CPU_READY,
        always(90),
    ),
    (
        "rabbitmq_detailed_queue_messages_ready",
        DEAD,
        always(5),
    ),
    ("rabbitmq_detailed_queue_messages_ready", {"vhost": "another", "queue": "io_api_calls"}, always(9999)),
    ("rabbitmq_detailed_queue_consumers", IO_READY, always(1)),
    ("rabbitmq_detailed_queue_consumers", CPU_READY, always(0)),
    ("rabbitmq_alarms_memory_used_watermark", BROKER, always(0)),
    ("rabbitmq_alarms_free_disk_space_watermark", BROKER, always(1)),
    ("rabbitmq_process_resident_memory_bytes", BROKER, always(450)),
    ("rabbitmq_resident_memory_limit_bytes", BROKER, always(1000)),
    ("rabbitmq_disk_space_available_bytes", BROKER, always(3000)),
    ("rabbitmq_disk_space_available_limit_bytes", BROKER, always(2000)),
    ("rabbitmq_global_messages_unroutable_returned_total", BROKER, each_minute(6)),
    ("rabbitmq_global_messages_unroutable_dropped_total", BROKER, each_minute(0)),
    ("rabbitmq_global_messages_received_confirm_total", BROKER, each_minute(660)),
    ("rabbitmq_global_messages_confirmed_total", BROKER, each_minute(600)),
]
# What has not run for long has a runtime that is no number.
IDLE: list[tuple[str, dict[str, str], str]] = [
    ("celery_fleet_tasks_total", {**IO, "task": "a.idle", "state": "success"}, always(7)),
    ("celery_fleet_task_runtime_seconds_bucket", {**IO, "task": "a.idle", "le": "+Inf"}, always(7)),
    ("celery_fleet_task_runtime_seconds_bucket", {**IO, "task": "a.idle", "le": "1"}, always(7)),
]


def series(name: str, labels: dict[str, str]) -> str:
    """Write a series."""
    return f"{name}{{{', '.join(f'{label}={json.dumps(value)}' for label, value in labels.items())}}}"


def shown(page: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield what a page shows: a name for it, its expression, and the labels of its series."""
    for panel in next(each for each in PAGES if each.name == page).panels:
        if isinstance(panel, Graph):
            for legend, expression in panel.lines.items():
                yield f"{panel.title}: {legend}", expression, tuple(re.findall(r"{{(\w+)}}", legend))
            continue
        yield panel.title, panel.expression(), panel.key
        for column in panel.columns:
            labels = (*panel.key, *([column.label] if column.label else ()))
            yield f"{panel.title}: {column.title}", panel.expression(column), labels


IO_TARGET, CPU_TARGET, GENERAL_TARGET, MEMORY_TARGET = 240, 3000, 540, 6600
QUEUES = {
    "cpu": ("cpu_ml_training", "cpu_video_processing", "cpu_data_analysis"),
    "general": ("general_background", "general_scheduled"),
    "io": ("io_api_calls", "io_file_operations", "io_email_sending"),
    "memory": ("memory_aggregations", "memory_large_imports"),
}
TARGETS = {"cpu": CPU_TARGET, "general": GENERAL_TARGET, "io": IO_TARGET, "memory": MEMORY_TARGET}
# What each expression gives at the end of the load: by the labels of its series, in their order.
EXPECTED: dict[str, dict[str, float]] = {
    "Alerts": {"FleetWaitHigh warning cpu - -": 1},
    "Alerts: since": {"FleetWaitHigh warning cpu - -": 600},
    "Pools": TARGETS,
    "Pools: state": {"cpu": 2, "general": 0, "io": 0, "memory": 0},
    "Pools: since": {"cpu": 600},
    "Pools: waits (p95)": {"cpu": 13320, "io": 0.46},
    "Pools: of its target": {"cpu": 4.44, "io": 0.002},
    "Pools: waiting": {"cpu": 90, "io": 500},
    "Pools: done in": {"cpu": 600, "io": 10},
    "Pools: slots": {"cpu": 9, "io": 50},
    "Pools: of planned": {"cpu": 0.75, "io": 1},
    "Pools: busy": {"cpu": 1, "io": 0.25},
    "Pools: tasks/s": {"cpu": 0.1, "io": 10.1},
    "Pools: fail": {"io": 0.005},
    "Pools: of allowed": {"io": 0.05},
    "Pools: lost in 1 h": {"cpu": 2},
    "Hosts": {"balanced1": 1, "cpu1": 1, "memory1": 0},
    "Hosts: answers": {"balanced1": 1, "cpu1": 1, "memory1": 0},
    "Hosts: slots": {"balanced1": 50, "cpu1": 9},
    "Hosts: of planned": {"balanced1": 0.833, "cpu1": 0.75},
    "Hosts: running": {"balanced1": 10, "cpu1": 9},
    "Hosts: drained pools": {"balanced1": 0, "cpu1": 1},
    "Hosts: cores used": {"cpu1": 9},
    "Hosts: memory": {"balanced1": 300},
    "Hosts: of its limit": {"balanced1": 0.3},
    "Hosts: killed in 1 h": {"balanced1": 1},
    "Hosts: restarts in 1 h": {"cpu1": 2},
    "Brokers": {"broker1": 1},
    "Brokers: answers": {"broker1": 1},
    "Brokers: alarms": {"broker1": 1},
    "Brokers: memory": {"broker1": 450},
    "Brokers: of its limit": {"broker1": 0.45},
    "Brokers: disk free": {"broker1": 3000},
    "Brokers: of what it needs": {"broker1": 1.5},
    "Schedulers": {"balanced1": 1, "cpu1": 1},
    "Schedulers: role": {"balanced1 active": 1, "cpu1 standby": 1},
    "Schedulers: entries": {"balanced1": 2},
    "Schedulers: last report": {"balanced1": 2},
    "Wait: {{pool}} p50": {"cpu": 3600, "io": 0.1},
    "Wait: {{pool}} p95": {"cpu": 13320, "io": 0.46},
    "Wait: {{pool}} p99": {"cpu": 14184, "io": 0.492},
    "Wait: {{pool}} target": TARGETS,
    "Waiting tasks: {{pool}}": {"cpu": 90, "io": 500},
    "Tasks ended: {{pool}} {{state}}": {"cpu success": 0.1, "io failure": 0.1, "io success": 10},
    "Slots: {{pool}} planned": {"cpu": 12, "general": 10, "io": 50, "memory": 4},
    "Slots: {{pool}} there": {"cpu": 9, "io": 50},
    "Slots: {{pool}} busy": {"cpu": 9, "io": 10},
    # What ends, and what waits worked on within its target, each for as long as a task runs: 60 s and 1 s.
    "Slots: {{pool}} needed": {"cpu": (0.1 + 90 / CPU_TARGET) * 60, "io": 12.183},
    "Runtime: {{pool}} p50": {"cpu": 60, "io": 1},
    "Runtime: {{pool}} p95": {"cpu": 114, "io": 2.8},
    "Runtime: {{pool}} soft limit": TARGETS,
    "Memory of a host's pool: {{instance}} {{pool}}": {"balanced1 io": 300},
    "Memory of a host's pool: {{instance}} {{pool}} {{kind}}": {
        "balanced1 io high": 900,
        "balanced1 io max": 1000,
    },
    "Processors: {{pool}} cores": {"cpu": 9},
    "Child processes ended in 1 h: {{pool}} {{reason}}": {"io recycled": 60},
    "Delivered again in 1 h: {{pool}}": {"io": 120},
    "Tasks": {"cpu a.train": 540, "io a.send": 54540},
    "Tasks: runs in 1 h": {"cpu a.train": 360, "io a.send": 36360},
    "Tasks: failed in 1 h": {"io a.send": 180},
    "Tasks: retried in 1 h": {"io a.send": 360},
    "Tasks: runs for (p50)": {"cpu a.train": 60, "io a.send": 1},
    "Tasks: runs for (p95)": {"cpu a.train": 114, "io a.send": 2.8},
    "Tasks: of its soft limit (p95)": {"cpu a.train": 0.038, "io a.send": 0.012},
    "Failures in 1 h": {"cpu a.train lost WorkerLostError": 2, "io a.send exception OSError": 180},
    "Failures in 1 h: failed": {"cpu a.train lost WorkerLostError": 2, "io a.send exception OSError": 180},
    "Workers": {"balanced1 io io_1": 1, "cpu1 cpu cpu_1": 1},
    "Workers: state": {"balanced1 io io_1 consuming": 1, "cpu1 cpu cpu_1 consuming": 1},
    "Workers: release": {"balanced1 io io_1 r2": 1, "cpu1 cpu cpu_1 r1": 1},
    "Workers: slots": {"balanced1 io io_1": 50, "cpu1 cpu cpu_1": 9},
    "Workers: running": {"balanced1 io io_1": 10, "cpu1 cpu cpu_1": 9},
    "Workers: held": {"balanced1 io io_1": 20},
    "Workers: oldest task since": {"cpu1 cpu cpu_1": 400},
    "Workers: last end": {"balanced1 io io_1": 1},
    "Workers: up": {"balanced1 io io_1": 3600},
    "Waiting for a resource: {{instance}} {{pool}} {{resource}}": {"cpu1 cpu cpu": 0.1},
    "Queues": {f"{pool} {queue}": 1 for pool, queues in QUEUES.items() for queue in queues},
    "Queues: waiting": {"cpu cpu_ml_training": 90, "io io_api_calls": 500},
    "Queues: of its length": {"cpu cpu_ml_training": 0.9, "io io_api_calls": 0.05},
    "Queues: consumers": {"cpu cpu_ml_training": 0, "io io_api_calls": 1},
    "Queues: waits (p95)": {"cpu cpu_ml_training": 13320, "io io_api_calls": 0.46},
    "Queues: ended/s": {"cpu cpu_ml_training": 0.1, "io io_api_calls": 10.1},
    "Dead letters": {
        "cpu_tasks_dead": 10000,
        "general_tasks_dead": 20000,
        "io_tasks_dead": 25000,
        "memory_tasks_dead": 10000,
    },
    "Dead letters: letters": {"io_tasks_dead": 5},
    "Dead letters: of its length": {"io_tasks_dead": 0},
    "Publishes without a queue, or refused: no queue, returned": {"": 0.1},
    "Publishes without a queue, or refused: no queue, dropped": {"": 0},
    "Publishes without a queue, or refused: refused": {"": 1},
    "Periodic tasks": {"night": 300},
    "Periodic tasks: last sent": {"night": 360},
    "Periodic tasks: due in": {"night": -60},
    "Periodic tasks: late, of what is allowed": {"night": 0.2},
}
SHOWN = {name: (expression, labels) for page in PAGES for name, expression, labels in shown(page.name)}


def of_all(expression: str) -> str:
    """Return an expression as it is when no pool is chosen."""
    return expression.replace(SELECTED, 'pool=~".+"')


def known_rules() -> dict[str, Any]:
    """Return the recording rules of the fleet that has the load."""
    model = {**LOADED, "schedule": {"night": {"task": "a.night", "every": 300}}}
    return recording_rules(model, known_hosts(), brokers=1, schedulers=1)


def known_hosts() -> dict[str, Any]:
    """Return its hosts."""
    return {
        name: {"name": name, "groups": groups, "hardware": {"cores": cores, "memory_mib": memory}}
        for name, (groups, cores, memory) in HOSTS.items()
    }


def promtool_test(
    path: Path, rules: list[str], cases: dict[str, Any], load: list[tuple[str, dict[str, str], str]]
) -> subprocess.CompletedProcess[str]:
    """Ask promtool about the load."""
    fed = [{"series": series(name, labels), "values": values} for name, labels, values in load]
    groups = [group["name"] for name in rules for group in json.loads((path / name).read_text())["groups"]]
    test = {
        "rule_files": rules,
        "evaluation_interval": "1m",
        "group_eval_order": groups,
        "tests": [{"interval": "1m", "input_series": fed, **cases}],
    }
    (path / "test.yml").write_text(json.dumps(test))
    line = [command("promtool"), "test", "rules", "test.yml"]
    return subprocess.run(line, cwd=path, capture_output=True, text=True, check=False)


def test_every_expression_gives_the_known_value_over_a_known_load(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(json.dumps(known_rules()))
    assert SHOWN.keys() == EXPECTED.keys()
    cases = []
    for name, (expression, labels) in SHOWN.items():
        samples = []
        for values, figure in EXPECTED[name].items():
            given = dict(zip(labels, values.split(" "), strict=True)) if labels else {}
            known = {label: value for label, value in given.items() if value != "-"}
            samples.append({"labels": series("", known), "value": round(figure, 3)})
        # Sums of floats would be compared exactly.
        rounded = f"round({of_all(expression)}, 0.001)"
        cases.append({"expr": rounded, "eval_time": f"{MINUTES}m", "exp_samples": samples})
    run = promtool_test(tmp_path, ["rules.yml"], {"promql_expr_test": cases}, LOAD)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_metric_is_one_that_somebody_has() -> None:
    known = {rule["record"] for group in known_rules()["groups"] for rule in group["rules"]} | BROKER_METRICS
    known |= {"up", "ALERTS", "ALERTS_FOR_STATE"}
    for name, metric in METRICS.items():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        known |= {f"{PREFIX}{name}{suffix}" for suffix in suffixes}
    named = re.compile(r"\b(?:celery_fleet|rabbitmq|ALERTS|up)(?:[_:]\w+)*(?::\w+)?\b")
    # Not what stands in quotes.
    used = {
        name: set(named.findall(re.sub(r'"[^"]*"', "", expression)))
        for name, (expression, _) in SHOWN.items()
    }
    assert all(used.values())
    assert {name: unknown for name, metrics in used.items() if (unknown := metrics - known)} == {}


def test_the_expressions_of_a_page_have_names_of_their_own() -> None:
    for page in PAGES:
        names = [name for name, _, _ in shown(page.name)]
        assert len(names) == len(set(names))
        assert len({panel.title for panel in page.panels}) == len(page.panels)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every console over the known load, as Prometheus fills it in: as the text of an alert."""
    path = tmp_path_factory.mktemp("consoles")
    (path / "rules.yml").write_text(json.dumps(known_rules()))
    alerts = []
    for name, text in consoles().items():
        # Only a server knows its address and what it is asked for.
        page = re.sub(r"\.Params\.\w+", "``", text).replace("{{ pathPrefix }}", "")
        # At the end only, since the pages show alerts, too.
        now = f"vector(time()) >= {MINUTES * 60}"
        alerts.append({"alert": name, "expr": now, "annotations": {"page": page}})
    (path / "pages.yml").write_text(json.dumps({"groups": [{"name": "pages", "rules": alerts}]}))
    # None is expected, so that promtool shows them all.
    asked = [{"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": []} for name in consoles()]
    answer = promtool_test(path, ["rules.yml", "pages.yml"], {"alert_rule_test": asked}, LOAD + IDLE)
    told = r'alertname="(.+?\.html)"}\s+Annotations:{page="(.*?)(?<!\\)"}'
    found = re.findall(told, answer.stdout + answer.stderr)
    return {name: json.loads(f'"{text}"') for name, text in found}


def test_consoles_are_filled_in_by_prometheus(rendered: dict[str, str]) -> None:
    assert rendered.keys() == consoles().keys()
    for name, page in rendered.items():
        assert page.rstrip().endswith("</html>"), page
        assert "NaN" not in page and "{{" not in page, name
        assert not re.search(r"<script|https?://", page), name
        assert set(re.findall(r'href="(\w+\.html)', page)) <= rendered.keys()


def row(page: str, title: str, *key: str) -> list[str]:
    """Return the cells of a row as a person reads them, with a mark at those that ask for a look."""
    section = page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    for text in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL):
        marked = re.sub(r'<td class="bad">', "<td>!", text)
        cells = [
            re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", marked, re.DOTALL)
        ]
        if cells[: len(key)] == list(key):
            return cells[len(key) :]
    raise AssertionError(f"{title} has no row {key}: {section}")


def test_the_first_page_says_at_once_what_is_wrong_and_since_when(rendered: dict[str, str]) -> None:
    page = rendered["fleet.html"]
    assert re.search(r'<h1 class="bad">1 alert: cpu</h1>', page)
    assert row(page, "Alerts", "FleetWaitHigh", "warning", "cpu", "", "") == ["10m 0s"]
    cpu = row(page, "Pools", "cpu")
    assert cpu[:8] == ["!alert", "10m 0s", "3h 42m 0s", "!444 %", "90", "10m 0s", "9", "!75 %"]
    assert row(page, "Pools", "io")[:4] == ["well", "", "460ms", "0 %"]
    assert row(page, "Hosts", "memory1")[:3] == ["!no", "", ""]
    assert row(page, "Brokers", "broker1")[:2] == ["yes", "!1"]
    assert row(page, "Schedulers", "cpu1")[:1] == ["standby"]
    assert row(rendered["tasks.html"], "Tasks", "io", "a.idle") == ["0", "", "", "", "", ""]
    assert row(rendered["queues.html"], "Queues", "cpu", "cpu_ml_training")[:3] == ["90", "!90 %", "!0"]


def test_consoles_ask_what_the_pages_say() -> None:
    said = {of_all(expression) for expression, _ in SHOWN.values()}
    for name, text in consoles().items():
        asked = set(re.findall(r"query `([^`]+)`", text))
        plain = {re.sub(r"^(?:100 \* \(|round\()(.*?)(?:, 0.001)?\)$", r"\1", each) for each in asked}
        plain = {re.sub(" == [12]$", "", each) for each in plain}
        assert plain - said == {"vector(time())"}, name


def test_grafana_finds_every_panel_once_and_no_panel_covers_another() -> None:
    made = dashboards()
    assert len({each["uid"] for each in made.values()}) == len(PAGES)
    for page in PAGES:
        board = made[f"{page.name}.json"]
        asked = {target["expr"] for panel in board["panels"] for target in panel["targets"]}
        assert asked == {expression for _, expression, _ in shown(page.name)}
        cells = [
            (x, y)
            for panel in board["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        variables = {each["name"] for each in board["templating"]["list"]}
        assert set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) <= variables
        for panel in board["panels"]:
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters)) and all(letter.isupper() for letter in letters)


@pytest.mark.parametrize("name", dashboards())
def test_grafana_knows_every_field_of_a_dashboard(name: str) -> None:
    register_default_plugins()
    board = json.loads(json.dumps(dashboards()[name]))
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert same_fields(board, known) == board


def same_fields(ours: Any, known: Any) -> Any:
    """Return what is known of the fields that we have."""
    if isinstance(ours, dict) and isinstance(known, dict):
        return {key: same_fields(value, known.get(key)) for key, value in ours.items()}
    if isinstance(ours, list) and isinstance(known, list) and len(ours) == len(known):
        return [same_fields(*each) for each in zip(ours, known, strict=True)]
    return known


def test_grafana_finds_the_dashboards_where_they_are_said_to_be() -> None:
    [provider] = yaml.safe_load(provisioning())["providers"]
    assert (provider["type"], provider["options"]) == ("file", {"path": DIRECTORY})
    assert DIRECTORY in (ROOT / "docs/use/dashboards.md").read_text()
