"""Recording rules: what alerts and dashboards compare with, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from ..broker.objects import dead_letter_queue
from ..broker.topology import dead_letter_length
from ..model.host import read_hosts
from ..model.read import read_model
from ..model.types import Model, Pool
from ..plan.figures import plain_number
from ..plan.host import build_plan

# Seconds after its time at which an entry with a crontab counts as missed.
LATE_S: Final = 3600
# Seconds: how old a figure may be when a rule sees it, by the report, the scrape and the interval of rules.
SEEN_S: Final = 60
MIB: Final = 1024 * 1024

Rule = dict[str, Any]


def recording_rules(raw_model: object, hosts: object, brokers: int, schedulers: int) -> dict[str, Any]:
    """Return the file of recording rules.

    Args:
        raw_model: The mapping ``fleet_model``.
        hosts: Every worker host, as ``read_hosts`` takes them; those of unknown hardware have no plan.
        brokers: How many nodes the broker has.
        schedulers: How many hosts may send periodic tasks.

    Returns:
        Two groups in plain types: the constants of this fleet, and what is derived of the metrics.

    Raises:
        ModelError: If the model is at fault or a pool does not fit its host; with all findings.
    """
    model, findings = read_model(raw_model)
    plans = [build_plan(model, host, findings) for host in read_hosts(hosts).values()]
    findings.refuse()
    known = [plan for plan in plans if plan]
    constants = [*_of_pools(model, known), *_of_hosts(known), *_of_entries(model)]
    constants.append(_constant("event_pools", sum(pool.events for pool in model.pools.values())))
    majority = brokers // 2 + 1
    # A broker that the kit does not install has no figures here, and nobody is told that it is missing.
    if brokers:
        constants += [_constant("brokers", brokers), _constant("brokers_needed", majority)]
    # Of a single broker nobody need be told that it is the last.
    if brokers > 1:
        constants.append(_constant("brokers_last", majority))
    if schedulers:
        constants.append(_constant("schedulers", schedulers))
    return {
        "groups": [
            {"name": "celery_fleet_model", "rules": constants},
            {"name": "celery_fleet_derived", "rules": list(_derived(model.broker.vhost))},
        ]
    }


def _constant(name: str, value: int | float | Fraction, **labels: str) -> Rule:
    figure = plain_number(Fraction(value))
    return {
        "record": f"celery_fleet:{name}",
        "expr": f"vector({figure!r})",
        **({"labels": labels} if labels else {}),
    }


def _of_pools(model: Model, plans: list[dict[str, Any]]) -> Iterator[Rule]:
    for pool in model.pools.values():
        limits = [
            (pool.time_limit, pool.soft_time_limit),
            *(
                (here["time_limit"], here["soft_time_limit"])
                for plan in plans
                if (here := plan["pools"].get(pool.name))
            ),
        ]
        severe = {"pool": pool.name, "severity": pool.severity}
        yield _constant("time_limit_seconds", max(hard for hard, _ in limits), pool=pool.name)
        yield _constant("soft_time_limit_seconds", max(soft for _, soft in limits), pool=pool.name)
        yield _constant("wait_target_seconds", wait_target_s(pool), **severe)
        yield _constant("failure_ratio", pool.failure_ratio, **severe)
        for queue in pool.queues.values():
            yield _constant("queue_pool", 1, queue=queue.name, pool=pool.name)
            if queue.max_length is not None:
                yield _constant("queue_max_length", queue.max_length, queue=queue.name, pool=pool.name)
    behind: dict[str, list[Pool]] = {}
    for pool in model.pools.values():
        behind.setdefault(dead_letter_queue(pool), []).append(pool)
    for name, pools in behind.items():
        yield _constant("dead_letter_length", dead_letter_length(pools), queue=name)


def wait_target_s(pool: Pool) -> int:
    """Return how long a task of a pool may wait until it starts, in seconds."""
    return pool.soft_time_limit if pool.wait_target is None else pool.wait_target


def _of_hosts(plans: list[dict[str, Any]]) -> Iterator[Rule]:
    for plan in plans:
        for name, pool in plan["pools"].items():
            here = {"instance": plan["host"], "pool": name}
            scale = pool["autoscale"]
            slots = scale["min"] if scale["enabled"] else pool["concurrency"]
            yield _constant("planned_slots", slots, **here)
            yield _constant("planned_memory_bytes", pool["memory_max_mib"] * MIB, **here)


def _of_entries(model: Model) -> Iterator[Rule]:
    for name, entry in model.schedule.items():
        late = entry.get("late") or max(entry.get("every") or LATE_S, SEEN_S)
        yield _constant("entry_late_seconds", late, entry=name)


def _derived(vhost: str) -> Iterator[Rule]:
    """Return the rules that make of the metrics what alerts, dashboards and the planning of capacity read."""
    # Of the nodes of a cluster only the leader of a queue tells of it.
    here = '{vhost="' + vhost.replace("\\", "\\\\").replace('"', '\\"') + '"}'
    consuming = (
        'on (instance, pool, worker) group_left () (celery_fleet_worker_state{state="consuming"} == 1)'
    )
    of_pool = "on (queue) group_left (pool) celery_fleet:queue_pool"
    rules: Mapping[str, str] = {
        "queue_ready": f"max by (queue) (rabbitmq_detailed_queue_messages_ready{here})",
        "queue_consumers": f"max by (queue) (rabbitmq_detailed_queue_consumers{here})",
        "queue_wait_seconds:p95": (
            "histogram_quantile(0.95, "
            "sum by (pool, queue, le) (rate(celery_fleet_task_wait_seconds_bucket[10m])))"
        ),
        "pool_ready": f"sum by (pool) (celery_fleet:queue_ready * {of_pool})",
        "pool_slots": f"sum by (pool) (celery_fleet_worker_slots * {consuming})",
        "pool_free_slots": (
            f"sum by (pool) ((celery_fleet_worker_slots - celery_fleet_worker_active_tasks) * {consuming})"
        ),
        "host_slots": "sum by (instance, pool) (celery_fleet_worker_slots)",
        "pool_tasks:rate5m": "sum by (pool) (rate(celery_fleet_queue_tasks_total[5m]))",
        "pool_failure_ratio": (
            'sum by (pool) (rate(celery_fleet_tasks_total{state="failure"}[15m])) '
            '/ sum by (pool) (rate(celery_fleet_tasks_total{state=~"success|failure"}[15m]))'
        ),
        "pool_redelivery_ratio": (
            "sum by (pool) (rate(celery_fleet_task_redeliveries_total[15m])) "
            "/ sum by (pool) (rate(celery_fleet_queue_tasks_total[15m]))"
        ),
        "pool_utilisation": (
            "sum by (pool) (rate(celery_fleet_busy_seconds_total[5m])) "
            "/ sum by (pool) (rate(celery_fleet_slot_seconds_total[5m]))"
        ),
        "pool_mean_runtime_seconds": (
            "sum by (pool) (rate(celery_fleet_task_runtime_seconds_sum[15m])) "
            "/ sum by (pool) (rate(celery_fleet_task_runtime_seconds_count[15m]))"
        ),
        "pool_drain_seconds": (
            "celery_fleet:pool_ready * on (pool) celery_fleet:pool_mean_runtime_seconds "
            "/ on (pool) celery_fleet:pool_slots"
        ),
        # What arrives, by Little's law, and what waits, worked on within its target.
        "pool_needed_slots": (
            "(sum by (pool) (rate(celery_fleet_queue_tasks_total[15m])) "
            f"+ clamp_min(sum by (pool) (deriv(celery_fleet:queue_ready[15m]) * {of_pool}), 0) "
            "+ celery_fleet:pool_ready / on (pool) sum by (pool) (celery_fleet:wait_target_seconds)) "
            "* on (pool) celery_fleet:pool_mean_runtime_seconds"
        ),
        "brokers_up": 'sum(up{job="rabbitmq"}) or vector(0)',
    }
    for name, expression in rules.items():
        yield {"record": f"celery_fleet:{name}", "expr": expression}
