"""The metrics of a fleet: name, kind, labels and meaning of each, written once.

The exporter on each host prints what is named here and nothing else; rules, alerts, dashboards and the
page of the docs are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "celery_fleet_"

# Seconds. Of all pools and releases, so that figures of several can be summed whatever their limits are.
RUNTIME_EDGES: Final = (
    0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800,
)  # fmt: skip
WAIT_EDGES: Final = (0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)

# How a task ends, and why one fails.
STATES: Final = ("success", "failure", "retry", "rejected", "ignored", "revoked")
REASONS: Final = ("exception", "soft_time_limit", "time_limit", "lost", "rejected")
# How a child process of a pool ends: after its number of tasks or memory, by a signal, by itself.
EXITS: Final = ("recycled", "killed", "error")
# What a worker is doing, as `state.json` calls it; "silent" if it reports nothing, "failed" as systemd says.
WORKER_STATES: Final = ("starting", "waiting", "paused", "consuming", "stopping", "silent", "failed")
BEAT_ROLES: Final = ("active", "standby", "waiting")
# Stands for the names of tasks, and the classes of exceptions, beyond those that have figures of their own.
OTHER: Final = "other"


class Kind(StrEnum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        kind: Its type.
        labels: Its labels, beside those that Prometheus adds of the host.
        help: What it counts, in one sentence without a full stop.
        edges: Of a histogram, the upper edges of its buckets (in the unit of its name).
    """

    kind: Kind
    labels: tuple[str, ...]
    help: str
    edges: tuple[float, ...] = ()


_POOL: Final = ("pool",)
_TASK: Final = ("pool", "task")
_QUEUE: Final = ("pool", "queue")
_WORKER: Final = ("pool", "worker")

_COUNTER, _GAUGE = Kind.COUNTER, Kind.GAUGE

# By name without the prefix. Counters of a pool are those of all its instances since the host's start.
METRICS: Final[Mapping[str, Metric]] = {
    # What tasks did, from the counters of the workers.
    "tasks_total": Metric(_COUNTER, (*_TASK, "state"), "Executions of a task that ended, by how they ended"),
    "queue_tasks_total": Metric(
        _COUNTER, (*_QUEUE, "state"), "Executions of tasks from a queue that ended, by how they ended"
    ),
    "task_failures_total": Metric(
        _COUNTER, (*_TASK, "reason", "exception"), "Executions that failed, by reason and class of exception"
    ),
    "task_runtime_seconds": Metric(
        Kind.HISTOGRAM, _TASK, "Seconds from the start of an execution to its end", RUNTIME_EDGES
    ),
    "task_wait_seconds": Metric(
        Kind.HISTOGRAM,
        _QUEUE,
        "Seconds from publishing, or the time a task was planned for, to its start; first deliveries only",
        WAIT_EDGES,
    ),
    "task_prefetch_seconds": Metric(
        Kind.SUMMARY, _POOL, "Seconds that tasks waited in the worker that had received them"
    ),
    "task_redeliveries_total": Metric(_COUNTER, _QUEUE, "Tasks started that had been delivered before"),
    "task_waits_skewed_total": Metric(
        _COUNTER, _QUEUE, "Tasks started before they were published by the clocks, which counted as no wait"
    ),
    "refused_messages_total": Metric(_COUNTER, _POOL, "Messages that became dead letters without being run"),
    "returned_tasks_total": Metric(_COUNTER, _POOL, "Tasks given back to their queues before they started"),
    "busy_seconds_total": Metric(_COUNTER, _POOL, "Seconds of slots in which a task ran"),
    "slot_seconds_total": Metric(
        _COUNTER, _POOL, "Seconds of slots, busy or free, of workers that take tasks"
    ),
    "consumer_losses_total": Metric(_COUNTER, _POOL, "Times that the broker had lost a worker's consumer"),
    "broker_reconnects_total": Metric(_COUNTER, _POOL, "Connections to the broker that were lost"),
    "child_exits_total": Metric(
        _COUNTER, (*_POOL, "reason"), "Processes of a prefork pool that ended, by why"
    ),
    # What workers are doing, from their state files and systemd.
    "worker_info": Metric(_GAUGE, (*_WORKER, "release"), "1 for each worker, with its release"),
    "worker_state": Metric(
        _GAUGE, (*_WORKER, "state"), "1 for the state that a worker is in, 0 for the others"
    ),
    "worker_slots": Metric(_GAUGE, _WORKER, "Tasks that a worker runs at once at most"),
    "worker_active_tasks": Metric(_GAUGE, _WORKER, "Tasks that a worker runs"),
    "worker_reserved_tasks": Metric(_GAUGE, _WORKER, "Tasks that a worker holds and has not begun"),
    "worker_hung_threads": Metric(
        _GAUGE, _WORKER, "Threads of a worker that go on with a task that has ended at its hard limit"
    ),
    "worker_oldest_task_start_timestamp_seconds": Metric(
        _GAUGE, _WORKER, "When the oldest of the tasks that a worker runs was started; absent if none runs"
    ),
    "worker_last_task_timestamp_seconds": Metric(_GAUGE, _WORKER, "When a worker's last task ended"),
    "worker_start_timestamp_seconds": Metric(_GAUGE, _WORKER, "When a worker was started"),
    "worker_state_timestamp_seconds": Metric(_GAUGE, _WORKER, "When a worker last reported its state"),
    "worker_restarts_total": Metric(_COUNTER, _WORKER, "Times that systemd started a worker again"),
    # Budgets of pools, from their control groups; absent where the kernel does not tell.
    "pool_memory_bytes": Metric(_GAUGE, _POOL, "Memory of a pool without what the kernel can drop at once"),
    "pool_memory_peak_bytes": Metric(_GAUGE, _POOL, "The most memory that a pool has used"),
    "pool_memory_limit_bytes": Metric(
        _GAUGE, (*_POOL, "kind"), "Memory from which a pool is slowed (high), killed (max)"
    ),
    "pool_cpu_seconds_total": Metric(_COUNTER, _POOL, "Seconds of processors that a pool has used"),
    "pool_oom_kills_total": Metric(_COUNTER, _POOL, "Processes that the kernel killed for want of memory"),
    "pool_memory_high_total": Metric(_COUNTER, _POOL, "Times that a pool was slowed for want of memory"),
    "pool_pressure_seconds_total": Metric(
        _COUNTER, (*_POOL, "resource"), "Seconds in which a process waited for cpu, memory or io"
    ),
    "pool_drained": Metric(_GAUGE, _POOL, "1 for a pool that is drained on this host, else 0"),
    # The scheduler, certificates, and the exporter itself.
    "beat_role": Metric(_GAUGE, ("role",), "1 for the role that the scheduler is in, 0 for the others"),
    "beat_entries": Metric(_GAUGE, (), "Periodic tasks that the scheduler knows"),
    "beat_last_run_timestamp_seconds": Metric(_GAUGE, ("entry",), "When a periodic task was last sent"),
    "beat_next_run_timestamp_seconds": Metric(_GAUGE, ("entry",), "When a periodic task is due next"),
    "beat_state_timestamp_seconds": Metric(_GAUGE, (), "When the scheduler last reported its state"),
    "certificate_expiry_timestamp_seconds": Metric(_GAUGE, ("file",), "When a certificate of this host ends"),
    "exporter_info": Metric(_GAUGE, ("schema",), "1, with the version of these metrics"),
    "exporter_read_errors": Metric(_GAUGE, (), "Files of workers that this page could not be made from"),
}

SCHEMA: Final = 1
