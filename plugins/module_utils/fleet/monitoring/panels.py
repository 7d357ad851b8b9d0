"""What a person sees of the fleet: pages of tables and graphs, of which dashboards and consoles are made.

No expression has a threshold of its own. What is compared is the ratio of a figure to a constant of the
model, which recording rules hold under `celery_fleet:`, so these pages are the same for every fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .limits import BROKER_MEMORY, POOL_MEMORY, QUEUE_FILLING, TASK_NEAR_LIMIT

# Selects the pools that were chosen, where a page has such a choice.
SELECTED: Final = 'pool=~"$pool"'


class Unit(StrEnum):
    """What a figure counts."""

    COUNT = "count"
    DECIMAL = "decimal"
    RATE = "per second"
    RATIO = "ratio"
    SECONDS = "seconds"
    BYTES = "bytes"


@dataclass(frozen=True)
class Column:
    """A figure of each row of a table.

    Attributes:
        title: The head.
        expression: PromQL with a series for each row that has the figure.
        unit: What it counts.
        high: The figure from which on a person should look, e.g. 1 for a ratio to a limit; none for any.
        low: The figure below which a person should look.
        words: Words that are shown for some figures.
        label: Show this label of the series instead of its value.
        fine: The values of the label that are as they should be; if empty, all are.
    """

    title: str
    expression: str
    unit: Unit = Unit.COUNT
    high: float | None = None
    low: float | None = None
    words: Mapping[float, str] = field(default_factory=dict)
    label: str = ""
    fine: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with a row for each set of labels.

    Attributes:
        title: The heading.
        key: Labels that make a row, the most general first.
        rows: PromQL with a series for each row.
        columns: The figures.
        nothing: What is said if there is no row.
        page: The page about what the first label names.
    """

    title: str
    key: tuple[str, ...]
    rows: str
    columns: tuple[Column, ...]
    nothing: str = "none"
    page: str = ""

    def expression(self, column: Column | None = None) -> str:
        """Return the expression of a column, or of the rows, whose series have the labels of the rows only.

        Args:
            column: The column; none for the rows.
        """
        labels = [*self.key, *([column.label] if column and column.label else [])]
        return f"max by ({', '.join(labels)}) ({column.expression if column else self.rows})"


@dataclass(frozen=True)
class Graph:
    """Lines over time.

    Attributes:
        title: The heading.
        unit: What the figures count.
        lines: PromQL by its legend, in which labels stand in double braces.
    """

    title: str
    unit: Unit
    lines: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """A dashboard, and a console.

    Attributes:
        name: Its stable name, in addresses and files.
        title: The heading.
        panels: What it shows, in this order.
        about: The label that it can be restricted to; if empty, it has no choice.
    """

    name: str
    title: str
    panels: tuple[Table | Graph, ...]
    about: str = ""


def _per_pool(expression: str) -> str:
    """Return a constant that may have further labels, once for each pool."""
    return f"max by (pool) ({expression})"


_WAIT: Final = _per_pool("celery_fleet:queue_wait_seconds:p95")
_TARGET: Final = _per_pool("celery_fleet:wait_target_seconds")
_FIRING: Final = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
_SINCE: Final = 'time() - ALERTS_FOR_STATE{alertname!="Watchdog"}'
_BEHIND_SINCE: Final = 'time() - ALERTS_FOR_STATE{alertname="FleetWaitHigh"}'


def _quantile(share: float, metric: str, *labels: str, selector: str = SELECTED) -> str:
    grouped = ", ".join((*labels, "le"))
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{{{selector}}}[10m])))"


_ALERTS: Final = Table(
    "Alerts",
    ("alertname", "severity", "pool", "queue", "instance"),
    _FIRING,
    (Column("since", f"{_SINCE} and on (alertname, pool, queue, instance) {_FIRING}", Unit.SECONDS),),
    nothing="No alert fires.",
)
_POOLS: Final = Table(
    "Pools",
    ("pool",),
    _TARGET,
    (
        Column(
            "state",
            f'2 * (count by (pool) ({_FIRING[:-1]}, pool!=""}}) > bool 0)'
            f" or on (pool) ({_WAIT} > bool on (pool) {_TARGET})"
            f" or on (pool) 0 * {_TARGET}",
            words={0: "well", 1: "behind", 2: "alert"},
            high=1,
        ),
        Column(
            "since",
            f"({_SINCE} and on (alertname, pool) {_FIRING}) or on (pool) {_BEHIND_SINCE}",
            Unit.SECONDS,
        ),
        Column("waits (p95)", _WAIT, Unit.SECONDS),
        Column("of its target", f"{_WAIT} / on (pool) {_TARGET}", Unit.RATIO, high=1),
        Column("waiting", "celery_fleet:pool_ready"),
        Column("done in", "celery_fleet:pool_drain_seconds", Unit.SECONDS),
        Column("slots", "celery_fleet:pool_slots"),
        Column(
            "of planned",
            "celery_fleet:pool_slots / on (pool) sum by (pool) (celery_fleet:planned_slots)",
            Unit.RATIO,
            low=1,
        ),
        Column("busy", "celery_fleet:pool_utilisation", Unit.RATIO),
        Column("tasks/s", "celery_fleet:pool_tasks:rate5m", Unit.DECIMAL),
        Column("fail", "celery_fleet:pool_failure_ratio", Unit.RATIO),
        Column(
            "of allowed",
            "celery_fleet:pool_failure_ratio / on (pool) " + _per_pool("celery_fleet:failure_ratio"),
            Unit.RATIO,
            high=1,
        ),
        Column(
            "lost in 1 h",
            'sum by (pool) (increase(celery_fleet_task_failures_total{reason="lost"}[1h]))',
            high=1,
        ),
    ),
    nothing="Prometheus has no constants of the model yet.",
    page="pool",
)
_HOSTS: Final = Table(
    "Hosts",
    ("instance",),
    'up{job="celery_fleet"}',
    (
        Column("answers", 'up{job="celery_fleet"}', words={0: "no", 1: "yes"}, low=1),
        Column("slots", "sum by (instance) (celery_fleet:host_slots)"),
        Column(
            "of planned",
            "sum by (instance) (celery_fleet:host_slots)"
            " / on (instance) sum by (instance) (celery_fleet:planned_slots)",
            Unit.RATIO,
            low=1,
        ),
        Column("running", "sum by (instance) (celery_fleet_worker_active_tasks)"),
        Column("drained pools", "sum by (instance) (celery_fleet_pool_drained)"),
        Column(
            "cores used",
            "sum by (instance) (rate(celery_fleet_pool_cpu_seconds_total[5m]))",
            Unit.DECIMAL,
        ),
        Column("memory", "sum by (instance) (celery_fleet_pool_memory_bytes)", Unit.BYTES),
        Column(
            "of its limit",
            "celery_fleet_pool_memory_bytes / ignoring (kind)"
            ' celery_fleet_pool_memory_limit_bytes{kind="max"}',
            Unit.RATIO,
            high=POOL_MEMORY,
        ),
        Column(
            "killed in 1 h", "sum by (instance) (increase(celery_fleet_pool_oom_kills_total[1h]))", high=1
        ),
        Column(
            "restarts in 1 h", "sum by (instance) (increase(celery_fleet_worker_restarts_total[1h]))", high=1
        ),
    ),
    page="hosts",
)
_BROKERS: Final = Table(
    "Brokers",
    ("instance",),
    'up{job="rabbitmq"}',
    (
        Column("answers", 'up{job="rabbitmq"}', words={0: "no", 1: "yes"}, low=1),
        Column(
            "alarms",
            "rabbitmq_alarms_memory_used_watermark + rabbitmq_alarms_free_disk_space_watermark",
            high=1,
        ),
        Column("memory", "rabbitmq_process_resident_memory_bytes", Unit.BYTES),
        Column(
            "of its limit",
            "rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes",
            Unit.RATIO,
            high=BROKER_MEMORY,
        ),
        Column("disk free", "rabbitmq_disk_space_available_bytes", Unit.BYTES),
        Column(
            "of what it needs",
            "rabbitmq_disk_space_available_bytes / rabbitmq_disk_space_available_limit_bytes",
            Unit.RATIO,
            low=1.5,
        ),
    ),
)
_SCHEDULERS: Final = Table(
    "Schedulers",
    ("instance",),
    "celery_fleet_beat_role",
    (
        Column(
            "role",
            "celery_fleet_beat_role == 1",
            label="role",
            fine=("active", "standby"),
        ),
        Column("entries", "celery_fleet_beat_entries"),
        Column(
            "last report",
            "time() - celery_fleet_beat_state_timestamp_seconds",
            Unit.SECONDS,
        ),
    ),
    nothing="No host sends periodic tasks.",
)

PAGES: Final = (
    Page("fleet", "Fleet", (_ALERTS, _POOLS, _BROKERS, _SCHEDULERS, _HOSTS)),
    Page(
        "pool",
        "Pool",
        (
            Graph(
                "Wait",
                Unit.SECONDS,
                {
                    "{{pool}} p50": _quantile(0.5, "celery_fleet_task_wait_seconds", "pool"),
                    "{{pool}} p95": _quantile(0.95, "celery_fleet_task_wait_seconds", "pool"),
                    "{{pool}} p99": _quantile(0.99, "celery_fleet_task_wait_seconds", "pool"),
                    "{{pool}} target": _per_pool(f"celery_fleet:wait_target_seconds{{{SELECTED}}}"),
                },
            ),
            Graph("Waiting tasks", Unit.COUNT, {"{{pool}}": f"celery_fleet:pool_ready{{{SELECTED}}}"}),
            Graph(
                "Tasks ended",
                Unit.RATE,
                {
                    "{{pool}} {{state}}": "sum by (pool, state) "
                    f"(rate(celery_fleet_queue_tasks_total{{{SELECTED}}}[5m]))"
                },
            ),
            Graph(
                "Slots",
                Unit.COUNT,
                {
                    "{{pool}} planned": f"sum by (pool) (celery_fleet:planned_slots{{{SELECTED}}})",
                    "{{pool}} there": f"celery_fleet:pool_slots{{{SELECTED}}}",
                    "{{pool}} busy": f"sum by (pool) (celery_fleet_worker_active_tasks{{{SELECTED}}})",
                    "{{pool}} needed": f"celery_fleet:pool_needed_slots{{{SELECTED}}}",
                },
            ),
            Graph(
                "Runtime",
                Unit.SECONDS,
                {
                    "{{pool}} p50": _quantile(0.5, "celery_fleet_task_runtime_seconds", "pool"),
                    "{{pool}} p95": _quantile(0.95, "celery_fleet_task_runtime_seconds", "pool"),
                    "{{pool}} soft limit": f"celery_fleet:soft_time_limit_seconds{{{SELECTED}}}",
                },
            ),
            Graph(
                "Memory of a host's pool",
                Unit.BYTES,
                {
                    "{{instance}} {{pool}}": f"celery_fleet_pool_memory_bytes{{{SELECTED}}}",
                    "{{instance}} {{pool}} {{kind}}": f"celery_fleet_pool_memory_limit_bytes{{{SELECTED}}}",
                },
            ),
            Graph(
                "Processors",
                Unit.DECIMAL,
                {
                    "{{pool}} cores": "sum by (pool) "
                    f"(rate(celery_fleet_pool_cpu_seconds_total{{{SELECTED}}}[5m]))"
                },
            ),
            Graph(
                "Child processes ended in 1 h",
                Unit.COUNT,
                {
                    "{{pool}} {{reason}}": "sum by (pool, reason) "
                    f"(increase(celery_fleet_child_exits_total{{{SELECTED}}}[1h]))"
                },
            ),
            Graph(
                "Delivered again in 1 h",
                Unit.COUNT,
                {
                    "{{pool}}": "sum by (pool) "
                    f"(increase(celery_fleet_task_redeliveries_total{{{SELECTED}}}[1h]))"
                },
            ),
        ),
        about="pool",
    ),
    Page(
        "tasks",
        "Tasks",
        (
            Table(
                "Tasks",
                ("pool", "task"),
                f"sum by (pool, task) (celery_fleet_tasks_total{{{SELECTED}}})",
                (
                    Column(
                        "runs in 1 h",
                        f"sum by (pool, task) (increase(celery_fleet_tasks_total{{{SELECTED}}}[1h]))",
                    ),
                    Column(
                        "failed in 1 h",
                        "sum by (pool, task) "
                        f'(increase(celery_fleet_tasks_total{{{SELECTED}, state="failure"}}[1h]))',
                    ),
                    Column(
                        "retried in 1 h",
                        "sum by (pool, task) "
                        f'(increase(celery_fleet_tasks_total{{{SELECTED}, state="retry"}}[1h]))',
                    ),
                    Column(
                        "runs for (p50)",
                        _quantile(0.5, "celery_fleet_task_runtime_seconds", "pool", "task"),
                        Unit.SECONDS,
                    ),
                    Column(
                        "runs for (p95)",
                        _quantile(0.95, "celery_fleet_task_runtime_seconds", "pool", "task"),
                        Unit.SECONDS,
                    ),
                    Column(
                        "of its soft limit (p95)",
                        _quantile(0.95, "celery_fleet_task_runtime_seconds", "pool", "task")
                        + " / on (pool) group_left () celery_fleet:soft_time_limit_seconds",
                        Unit.RATIO,
                        high=TASK_NEAR_LIMIT,
                    ),
                ),
                nothing="No task has ended yet.",
                page="pool",
            ),
            Table(
                "Failures in 1 h",
                ("pool", "task", "reason", "exception"),
                "sum by (pool, task, reason, exception) "
                f"(increase(celery_fleet_task_failures_total{{{SELECTED}}}[1h])) > 0.5",
                (
                    Column(
                        "failed",
                        "sum by (pool, task, reason, exception) "
                        f"(increase(celery_fleet_task_failures_total{{{SELECTED}}}[1h])) > 0.5",
                    ),
                ),
                nothing="No task failed.",
                page="pool",
            ),
        ),
        about="pool",
    ),
    Page(
        "hosts",
        "Hosts",
        (
            _HOSTS,
            Table(
                "Workers",
                ("instance", "pool", "worker"),
                "celery_fleet_worker_info",
                (
                    Column(
                        "state",
                        "celery_fleet_worker_state == 1",
                        label="state",
                        fine=("starting", "consuming", "stopping"),
                    ),
                    Column(
                        "release",
                        "celery_fleet_worker_info",
                        label="release",
                    ),
                    Column("slots", "celery_fleet_worker_slots"),
                    Column("running", "celery_fleet_worker_active_tasks"),
                    Column("held", "celery_fleet_worker_reserved_tasks"),
                    Column(
                        "oldest task since",
                        "time() - celery_fleet_worker_oldest_task_start_timestamp_seconds",
                        Unit.SECONDS,
                    ),
                    Column(
                        "last end",
                        "time() - celery_fleet_worker_last_task_timestamp_seconds",
                        Unit.SECONDS,
                    ),
                    Column(
                        "up",
                        "time() - celery_fleet_worker_start_timestamp_seconds",
                        Unit.SECONDS,
                    ),
                ),
            ),
            Graph(
                "Waiting for a resource",
                Unit.RATIO,
                {
                    "{{instance}} {{pool}} {{resource}}": "sum by (instance, pool, resource) "
                    "(rate(celery_fleet_pool_pressure_seconds_total[5m]))"
                },
            ),
        ),
        about="instance",
    ),
    Page(
        "queues",
        "Queues and broker",
        (
            Table(
                "Queues",
                ("pool", "queue"),
                "celery_fleet:queue_pool",
                (
                    Column(
                        "waiting",
                        "celery_fleet:queue_ready * on (queue) group_left (pool) celery_fleet:queue_pool",
                    ),
                    Column(
                        "of its length",
                        "celery_fleet:queue_ready"
                        " / on (queue) group_left (pool) celery_fleet:queue_max_length",
                        Unit.RATIO,
                        high=QUEUE_FILLING,
                    ),
                    Column(
                        "consumers",
                        "celery_fleet:queue_consumers * on (queue) group_left (pool) celery_fleet:queue_pool",
                        low=1,
                    ),
                    Column("waits (p95)", "celery_fleet:queue_wait_seconds:p95", Unit.SECONDS),
                    Column(
                        "ended/s",
                        "sum by (pool, queue) (rate(celery_fleet_queue_tasks_total[5m]))",
                        Unit.DECIMAL,
                    ),
                ),
                page="pool",
            ),
            Table(
                "Dead letters",
                ("queue",),
                "celery_fleet:dead_letter_length",
                (
                    Column(
                        "letters",
                        "celery_fleet:queue_ready and on (queue) celery_fleet:dead_letter_length",
                        high=1,
                    ),
                    Column(
                        "of its length",
                        "celery_fleet:queue_ready / on (queue) celery_fleet:dead_letter_length",
                        Unit.RATIO,
                        high=QUEUE_FILLING,
                    ),
                ),
            ),
            _BROKERS,
            Graph(
                "Publishes without a queue, or refused",
                Unit.RATE,
                {
                    "no queue, returned": "sum(rate(rabbitmq_global_messages_unroutable_returned_total[5m]))",
                    "no queue, dropped": "sum(rate(rabbitmq_global_messages_unroutable_dropped_total[5m]))",
                    "refused": "sum(rate(rabbitmq_global_messages_received_confirm_total[5m]))"
                    " - sum(rate(rabbitmq_global_messages_confirmed_total[5m]))",
                },
            ),
        ),
    ),
    Page(
        "scheduler",
        "Scheduler",
        (
            _SCHEDULERS,
            Table(
                "Periodic tasks",
                ("entry",),
                "celery_fleet:entry_late_seconds",
                (
                    Column(
                        "last sent",
                        "time() - celery_fleet_beat_last_run_timestamp_seconds",
                        Unit.SECONDS,
                    ),
                    Column(
                        "due in",
                        "celery_fleet_beat_next_run_timestamp_seconds - time()",
                        Unit.SECONDS,
                    ),
                    Column(
                        "late, of what is allowed",
                        "clamp_min(time() - max by (entry) (celery_fleet_beat_next_run_timestamp_seconds), 0)"
                        " / on (entry) max by (entry) (celery_fleet:entry_late_seconds)",
                        Unit.RATIO,
                        high=1,
                    ),
                ),
                nothing="The model has no periodic tasks.",
            ),
        ),
    ),
)
