"""For every alert what makes it fire, with the exact text, and what nearly does.

Series are given at steps of half a minute. The figures come from the fields that the rules are made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.status.document import STALE_S

from support.fleet_model import HOSTS, LOADED, host_plan

STEPS = 320
# One pool with one queue on one host, so that an alert that fires has one series.
POOL, QUEUE, HOST, DEAD = "io", "io_api_calls", "balanced1", "io_tasks_dead"
_POOL = LOADED["pools"][POOL]
# A pool that no host runs.
IDLE = "general_background"
_IDLE = {**LOADED["pools"]["general"], "queues": {IDLE: LOADED["pools"]["general"]["queues"][IDLE]}}
MODEL: dict[str, Any] = {
    **LOADED,
    "pools": {POOL: {**_POOL, "queues": {QUEUE: _POOL["queues"][QUEUE]}}, "general": _IDLE},
    "profiles": {"balanced_servers": {"pools": {POOL: {}}}},
    "routing": {"default_queue": QUEUE, "periodic_queue": QUEUE, "hints": {}, "rules": []},
    "environment_pools": {POOL: {"wait_target": 100, "failure_ratio": 0.2, "severity": "critical"}},
    "schedule": {"tick": {"task": "demo.tick", "every": 60, "late": 90}},
}
HARDWARE = {"cores": HOSTS[HOST][1], "memory_mib": HOSTS[HOST][2]}
WORKERS = {HOST: {"groups": HOSTS[HOST][0], "pools": {}, "hardware": HARDWARE, "nodename": HOST}}
BROKERS, SCHEDULERS = 3, 1
LENGTH = DEAD_LENGTH = _POOL["queues"][QUEUE]["max_length"]
HARD, SOFT = _POOL["time_limit"], _POOL["soft_time_limit"]
TARGET = MODEL["environment_pools"][POOL]["wait_target"]
LATE = MODEL["schedule"]["tick"]["late"]
PLAN = host_plan(MODEL, HOST, HOSTS[HOST][0], {}, HARDWARE, HOST)["pools"][POOL]
SLOTS, MEMORY = PLAN["concurrency"], PLAN["memory_max_mib"] * 1024 * 1024
DAY = 86400

Series = Mapping[str, str]


@dataclass(frozen=True)
class Near:
    """Series with which an alert must stay silent, and when (minutes) that is looked at."""

    series: Series
    at: float | None = None


@dataclass(frozen=True)
class Case:
    """What makes an alert fire.

    Attributes:
        fires: The series.
        labels: The labels of the alert, beside its severity if the rule has it.
        summary: What it says.
        near: What does not make it fire.
        at: When it first may fire (minutes), if not after its own time.
        also: Other series with which it says the same.
    """

    fires: Series
    labels: Mapping[str, str]
    summary: str
    near: Sequence[Near]
    at: float | None = None
    also: Sequence[Series] = ()


def flat(value: float) -> str:
    """A value that stays."""
    return f"{value}+0x{STEPS}"


def ramp(a_minute: float, start: float = 0) -> str:
    """A value that grows."""
    return f"{start}{a_minute / 2:+}x{STEPS}"


def turn(minutes: float, before: float, after: float) -> str:
    """A value that changes once."""
    return f"{before}+0x{round(minutes * 2) - 1} {after}+0x{STEPS}"


def named(name: str, values: str, **labels: str) -> dict[str, str]:
    """A series."""
    return {name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}": values}


def ready(values: str, queue: str = QUEUE) -> dict[str, str]:
    """Messages that wait in a queue."""
    labels = {"vhost": "celery_fleet", "queue": queue, "instance": "broker1"}
    return named("rabbitmq_detailed_queue_messages_ready", values, **labels)


def consumers(values: str, queue: str = QUEUE) -> dict[str, str]:
    """Consumers of a queue."""
    labels = {"vhost": "celery_fleet", "queue": queue, "instance": "broker1"}
    return named("rabbitmq_detailed_queue_consumers", values, **labels)


def fleet(name: str, values: str, pool: str = POOL, instance: str = HOST, **labels: str) -> dict[str, str]:
    """A metric of the exporter."""
    return named(f"celery_fleet_{name}", values, instance=instance, pool=pool, **labels)


def worker(name: str, values: str, number: int = 1, instance: str = HOST, **labels: str) -> dict[str, str]:
    """A metric of a worker."""
    return fleet(f"worker_{name}", values, instance=instance, worker=f"{POOL}_{number}", **labels)


def consuming(slots: str, active: str, state: str = "consuming") -> dict[str, str]:
    """A worker with its slots."""
    return {
        **worker("slots", slots),
        **worker("active_tasks", active),
        **worker("state", flat(1), state=state),
    }


def up(job: str, values: str, instance: str = HOST) -> dict[str, str]:
    """Whether a target answers."""
    return named("up", values, job=job, instance=instance)


def brokers(*values: int) -> dict[str, str]:
    """Nodes of the broker, each up or not."""
    return {
        key: value
        for at, each in enumerate(values, 1)
        for key, value in up("rabbitmq", flat(each), f"broker{at}").items()
    }


def waited(seconds: float) -> dict[str, str]:
    """Waits of which 95 of 100 are below a time: all lie evenly between 50 s and the edge that gives it."""
    edge = 50 + (seconds - 50) / 0.95
    return {
        **fleet("task_wait_seconds_bucket", ramp(0), queue=QUEUE, le="50"),
        **fleet("task_wait_seconds_bucket", ramp(60), queue=QUEUE, le=f"{edge:.6f}"),
        **fleet("task_wait_seconds_bucket", ramp(60), queue=QUEUE, le="+Inf"),
    }


def ran(seconds: float) -> dict[str, str]:
    """Runs of a task, of which 99 of 100 are below a time."""
    edge = 50 + (seconds - 50) / 0.99
    return {
        **fleet("task_runtime_seconds_bucket", ramp(0), task="a.b", le="50"),
        **fleet("task_runtime_seconds_bucket", ramp(60), task="a.b", le=f"{edge:.6f}"),
        **fleet("task_runtime_seconds_bucket", ramp(60), task="a.b", le="+Inf"),
    }


def drains(waiting: float) -> dict[str, str]:
    """Tasks of ten seconds that wait for ten slots: each takes a second."""
    return {
        **ready(flat(waiting)),
        **consuming(flat(10), flat(10)),
        **fleet("task_runtime_seconds_sum", ramp(600), task="a.b"),
        **fleet("task_runtime_seconds_count", ramp(60), task="a.b"),
    }


def ended(success: float, failure: float) -> dict[str, str]:
    """Tasks that end, a minute."""
    return {
        **fleet("tasks_total", ramp(success), task="a.b", state="success"),
        **fleet("tasks_total", ramp(failure), task="a.b", state="failure"),
    }


def redelivered(share: float) -> dict[str, str]:
    """Tasks of which a share was delivered before."""
    return {
        **fleet("queue_tasks_total", ramp(60), queue=QUEUE, state="success"),
        **fleet("task_redeliveries_total", ramp(60 * share), queue=QUEUE),
    }


def busy(share: float, wait_s: float) -> dict[str, str]:
    """Slots that are busy for a share of their time while tasks wait."""
    return {
        **fleet("slot_seconds_total", ramp(600)),
        **fleet("busy_seconds_total", ramp(600 * share)),
        **waited(wait_s),
    }


def published(received: float, confirmed: float) -> dict[str, str]:
    """Messages that the broker gets and confirms, a minute."""
    here = {"instance": "broker1", "protocol": "amqp091"}
    return {
        **named("rabbitmq_global_messages_received_confirm_total", ramp(received), **here),
        **named("rabbitmq_global_messages_confirmed_total", ramp(confirmed), **here),
    }


def failed(reason: str, values: str) -> dict[str, str]:
    """Failures of a task, on a host that is read all the time."""
    return {
        **fleet("task_failures_total", values, task="a.b", reason=reason, exception="E"),
        **up("celery_fleet", flat(1)),
    }


def stuck(letters: int, confirmed: int) -> dict[str, str]:
    """Dead letters on their way."""
    here = {
        "instance": "broker1",
        "queue_type": "rabbit_quorum_queue",
        "dead_letter_strategy": "at_least_once",
    }
    name = "rabbitmq_global_messages_dead_lettered"
    return {
        **named(f"{name}_expired_total", flat(0), **here),
        **named(f"{name}_rejected_total", flat(letters), **here),
        **named(f"{name}_delivery_limit_total", flat(0), **here),
        **named(f"{name}_confirmed_total", flat(confirmed), **here),
    }


def unroutable(returned: str, dropped: str) -> dict[str, str]:
    """Messages that reach no queue."""
    here = {"instance": "broker1", "protocol": "amqp091"}
    return {
        **named("rabbitmq_global_messages_unroutable_returned_total", returned, **here),
        **named("rabbitmq_global_messages_unroutable_dropped_total", dropped, **here),
    }


def on_broker(**metrics: str) -> dict[str, str]:
    """Metrics of a node of the broker."""
    return {f'rabbitmq_{name}{{instance="broker1"}}': values for name, values in metrics.items()}


def versions(*found: str) -> dict[str, str]:
    """Nodes of these versions."""
    return {
        f'rabbitmq_build_info{{instance="broker{at}",rabbitmq_version="{version}"}}': flat(1)
        for at, version in enumerate(found)
    }


def linked(states: Sequence[int], cli: bool = False) -> dict[str, str]:
    """The links of one node to others, and to a command that looks at it."""
    peers = {f"rabbit@b{at}": state for at, state in enumerate(states)}
    peers |= {"rabbitmqcli-7@b": 3} if cli else {}
    return {
        f'erlang_vm_dist_node_state{{instance="broker1",peer="{peer}"}}': flat(state)
        for peer, state in peers.items()
    }


def certificate(days: float) -> dict[str, str]:
    """A certificate, by the time that it has left when it is looked at first."""
    labels = {"instance": HOST, "file": "/etc/x.pem"}
    return named("celery_fleet_certificate_expiry_timestamp_seconds", flat(days * DAY), **labels)


DRAINED = fleet("pool_drained", flat(1))
STOPPING = worker("state", flat(1), 2, state="stopping")
ON_HOST = {"pool": POOL, "instance": HOST}
ON_WORKER = {**ON_HOST, "worker": f"{POOL}_1"}
OF_QUEUE = {"queue": QUEUE, "pool": POOL}
BROKER1 = {"instance": "broker1"}
NODE = {"instance": HOST}
STALE = STALE_S
FILES = {"instance": HOST, "file": "/etc/x.pem"}
WAITING = {**ready(flat(3)), **consuming(flat(10), flat(9))}
NONE_ENDS = fleet("queue_tasks_total", flat(5), queue=QUEUE, state="success")

CASES: dict[str, Case] = {
    "FleetQueueFull": Case(
        ready(flat(LENGTH)),
        OF_QUEUE,
        f"{QUEUE} is full: 100% of its max_length",
        [Near(ready(flat(LENGTH - 1)))],
    ),
    "FleetQueueFilling": Case(
        ready(flat(0.81 * LENGTH)), OF_QUEUE, f"{QUEUE} is 81% full", [Near(ready(flat(0.8 * LENGTH)))]
    ),
    "FleetQueueWillFill": Case(
        ready(ramp(0.012 * LENGTH, 0.31 * LENGTH)),
        OF_QUEUE,
        f"{QUEUE} will be full within an hour",
        [
            Near(ready(ramp(0.001 * LENGTH, 0.86 * LENGTH))),
            # Long enough below 0.3 of its length.
            Near(ready(ramp(0.016 * LENGTH, 0.07 * LENGTH)), 28),
        ],
    ),
    "FleetPublishersRefused": Case(
        published(100, 98.85),
        {},
        "The broker refused 6 messages of the last 5 minutes",
        # Few of many are on their way; a few of few are refused.
        [Near(published(1000, 990.1)), Near(published(9, 8.1))],
        at=5,
    ),
    "FleetDeadLetters": Case(
        ready(turn(5, 3, 5), DEAD),
        {"queue": DEAD},
        f"{DEAD} got 2 dead letters within an hour",
        [Near(ready(flat(3), DEAD)), Near(ready(turn(5, 3, 5)), 6)],
        at=5,
    ),
    "FleetDeadLettersStuck": Case(
        stuck(3, 1), {}, "2 dead letters do not arrive in their queue", [Near(stuck(3, 3))]
    ),
    "FleetDeadLetterQueueFilling": Case(
        ready(flat(0.81 * DEAD_LENGTH), DEAD),
        {"queue": DEAD},
        f"{DEAD} is 81% full",
        [Near(ready(flat(0.8 * DEAD_LENGTH), DEAD))],
    ),
    "FleetTasksLost": Case(
        failed("lost", f"_x60 1+0x{STEPS}"),
        {"pool": POOL, "task": "a.b"},
        "a.b lost its process 1 times",
        [
            Near(failed("lost", flat(4)), 40),
            Near(failed("exception", turn(30, 1, 2)), 31),
            # All counters of a host look new when it was away, and when it is read for the first time.
            Near({**failed("lost", f"_x60 4+0x{STEPS}"), **up("celery_fleet", turn(30, 0, 1))}, 31),
            Near({**failed("lost", f"_x60 4+0x{STEPS}"), **up("celery_fleet", f"_x60 1+0x{STEPS}")}, 31),
        ],
        at=30,
        # The first loss of a host that has been read for five minutes.
        also=[{**failed("lost", f"_x60 1+0x{STEPS}"), **up("celery_fleet", f"_x50 1+0x{STEPS}")}],
    ),
    "BrokerUnroutable": Case(
        unroutable(flat(0), turn(10, 1, 3)),
        {},
        "2 messages of the last 5 minutes reached no queue",
        [Near(unroutable(flat(7), flat(2)))],
        at=10,
    ),
    "FleetWaitHigh": Case(
        waited(TARGET * 1.1),
        {**OF_QUEUE, "severity": "critical"},
        f"Tasks of {QUEUE} wait 1m 50s (95 of 100 less)",
        [Near(waited(TARGET * 0.95))],
    ),
    "FleetTasksWaitThoughSlotsAreFree": Case(
        {**WAITING, **NONE_ENDS},
        {"pool": POOL},
        f"3 tasks wait for {POOL} though slots are free, and none ends",
        [
            Near({**WAITING, **NONE_ENDS, **ready(flat(0))}),
            Near({**ready(flat(3)), **consuming(flat(10), flat(10)), **NONE_ENDS}),
            Near({**WAITING, **fleet("queue_tasks_total", ramp(1), queue=QUEUE, state="success")}),
            Near({**ready(flat(3)), **consuming(flat(10), flat(0), "paused"), **NONE_ENDS}),
        ],
    ),
    "FleetDrainTooSlow": Case(
        drains(2 * TARGET + 10),
        {"pool": POOL},
        f"What waits for {POOL} takes 3m 30s to be worked on",
        [Near(drains(2 * TARGET - 10))],
    ),
    "FleetQueueMissing": Case(
        {**brokers(1, 1, 0), **ready(flat(0), IDLE)},
        OF_QUEUE,
        f"No broker knows of {QUEUE}",
        [Near({**brokers(1, 1, 0), **ready(flat(0), IDLE), **ready(flat(0))}), Near(brokers(0, 0, 0))],
    ),
    "FleetQueueWithoutConsumers": Case(
        {**consumers(flat(0)), **fleet("pool_drained", flat(0))},
        OF_QUEUE,
        f"Nobody consumes {QUEUE}",
        [
            Near(consumers(flat(1))),
            Near(consumers(flat(0), IDLE)),
            Near({**consumers(flat(0)), **DRAINED}),
            Near({**consumers(flat(0)), **STOPPING}),
        ],
    ),
    "FleetPoolSaturated": Case(
        busy(0.97, TARGET * 0.55),
        {"pool": POOL},
        f"All slots of {POOL} are busy (97%) and its tasks wait",
        [Near(busy(0.94, TARGET * 0.55)), Near(busy(0.97, TARGET * 0.47))],
    ),
    "FleetSlotsBelowPlan": Case(
        worker("slots", flat(SLOTS - 1)),
        ON_HOST,
        f"{POOL} on {HOST} has 1 slots fewer than planned",
        [
            Near(worker("slots", flat(SLOTS))),
            Near({**worker("slots", flat(SLOTS - 1)), **DRAINED}),
            Near(worker("slots", turn(2, SLOTS, 5)), 30),
        ],
    ),
    "FleetWorkerMissing": Case(
        up("celery_fleet", flat(1)),
        ON_HOST,
        f"{HOST} runs no worker of {POOL}",
        [
            Near({**up("celery_fleet", flat(1)), **worker("info", flat(1), release="1")}),
            Near({**up("celery_fleet", flat(1)), **DRAINED}),
            Near(up("celery_fleet", flat(0))),
        ],
    ),
    "FleetHostSilent": Case(
        {**up("celery_fleet", flat(0)), **fleet("pool_drained", flat(0))},
        {"job": "celery_fleet", **NODE},
        f"{HOST} does not answer",
        [
            Near(up("celery_fleet", flat(1))),
            # Drained, and then rebooted.
            Near({**up("celery_fleet", turn(2, 1, 0)), **fleet("pool_drained", f"1+0x4 _x{STEPS}")}, 12),
        ],
    ),
    "FleetWorkerSilent": Case(
        worker("state_timestamp_seconds", ramp(60, -STALE - 5)),
        ON_WORKER,
        f"{POOL}_1 on {HOST} has not reported for {STALE + 5}s",
        [Near(worker("state_timestamp_seconds", ramp(60, -STALE)))],
    ),
    "FleetWorkerWaits": Case(
        worker("state", flat(1), state="waiting"),
        {**ON_WORKER, "state": "waiting"},
        f"{POOL}_1 on {HOST} does not reach the broker",
        [Near(worker("state", flat(0), state="waiting")), Near(worker("state", flat(1), state="consuming"))],
    ),
    "FleetWorkerCrashes": Case(
        worker("restarts_total", f"1+0x20 2 3 4+0x{STEPS}"),
        ON_WORKER,
        f"{POOL}_1 on {HOST} was started again 3 times",
        [
            Near(worker("restarts_total", f"1+0x20 2 3+0x{STEPS}"), 12),
            # A worker of the next deploy, that has the name of one that crashed.
            Near(worker("restarts_total", f"7+0x20 0+0x{STEPS}"), 12),
        ],
        at=12,
    ),
    "FleetTwoInstances": Case(
        {**worker("state", flat(1), state="consuming"), **worker("state", flat(1), 2, state="consuming")},
        ON_HOST,
        f"2 workers of {POOL} consume on {HOST}",
        [Near({**worker("state", flat(1), state="consuming"), **STOPPING})],
    ),
    "FleetPausedUndrained": Case(
        worker("state", flat(1), state="paused"),
        {**ON_WORKER, "state": "paused"},
        f"{POOL}_1 on {HOST} takes no tasks, and was not drained",
        [
            Near(worker("state", flat(0), state="paused")),
            Near({**worker("state", flat(1), state="paused"), **DRAINED}),
            Near({**worker("state", flat(1), state="paused"), **STOPPING}),
        ],
    ),
    "FleetTasksFail": Case(
        ended(1.16, 0.31),
        {"pool": POOL, "severity": "critical"},
        f"21.09% of the tasks of {POOL} fail",
        [Near(ended(16.2, 3.8)), Near(ended(0.7, 0.5), 25)],
        at=13.5,
    ),
    "FleetTimeLimits": Case(
        failed("soft_time_limit", turn(65, 2, 3)),
        {"pool": POOL, "task": "a.b"},
        "a.b hit a time limit 1 times within an hour",
        [Near(failed("time_limit", flat(4)), 66), Near(failed("lost", turn(65, 2, 3)), 66)],
        at=65,
        also=[failed("time_limit", f"_x130 1+0x{STEPS}")],
    ),
    "FleetTaskNearLimit": Case(
        ran(0.95 * SOFT),
        {"pool": POOL, "task": "a.b"},
        "a.b runs for 95% of its soft time limit",
        [Near(ran(0.88 * SOFT))],
    ),
    "FleetTaskOutlivesLimit": Case(
        worker("oldest_task_start_timestamp_seconds", flat(0)),
        ON_WORKER,
        f"A task on {HOST} runs for {(HARD + 210) / (HARD + 60):.1%} of its hard limit",
        [Near(worker("oldest_task_start_timestamp_seconds", ramp(60, -HARD - 55)))],
        at=(HARD + 90) / 60,
    ),
    "FleetRedeliveries": Case(
        redelivered(0.055),
        {"pool": POOL},
        f"5.5% of the tasks of {POOL} were delivered before",
        [Near(redelivered(0.045))],
    ),
    "FleetPoolOutOfMemory": Case(
        fleet("pool_oom_kills_total", turn(20, 3, 4)),
        ON_HOST,
        f"Tasks of {POOL} were killed for their memory on {HOST}",
        [Near(fleet("pool_oom_kills_total", flat(3)))],
        at=20,
    ),
    "FleetPoolMemoryHigh": Case(
        fleet("pool_memory_bytes", flat(0.97 * MEMORY)),
        ON_HOST,
        f"{POOL} takes 97% of its memory on {HOST}",
        [Near(fleet("pool_memory_bytes", flat(0.94 * MEMORY)))],
    ),
    "FleetSchedulerNone": Case(
        named("celery_fleet_beat_role", flat(0), role="active", instance=HOST),
        {},
        "No scheduler is active: nothing periodic is sent",
        [Near(named("celery_fleet_beat_role", flat(1), role="active", instance=HOST))],
    ),
    "FleetSchedulerTwo": Case(
        {
            **named("celery_fleet_beat_role", flat(1), role="active", instance="a"),
            **named("celery_fleet_beat_role", flat(1), role="active", instance="b"),
        },
        {},
        "2 schedulers are active: periodic tasks are sent more than once",
        [
            Near(
                {
                    **named("celery_fleet_beat_role", flat(1), role="active", instance="a"),
                    **named("celery_fleet_beat_role", flat(0), role="active", instance="b"),
                }
            )
        ],
    ),
    "FleetScheduleMissed": Case(
        named(
            "celery_fleet_beat_next_run_timestamp_seconds", ramp(60, -LATE - 10), entry="tick", instance=HOST
        ),
        {"entry": "tick"},
        "tick is 1m 40s late",
        [Near(named("celery_fleet_beat_next_run_timestamp_seconds", ramp(60, -LATE), entry="tick"))],
    ),
    "BrokerDown": Case(
        up("rabbitmq", flat(0), "broker1"),
        {"job": "rabbitmq", **BROKER1},
        "Broker broker1 does not answer",
        [Near(up("rabbitmq", flat(1), "broker1"))],
    ),
    "BrokerLastMajority": Case(
        brokers(1, 1, 0),
        {},
        "2 brokers are left: the loss of one more stops the fleet",
        [Near(brokers(1, 1, 1))],
    ),
    "BrokerNoMajority": Case(
        brokers(1, 0, 0), {}, "The broker stands still: too few of its nodes answer", [Near(brokers(1, 1, 0))]
    ),
    "BrokerMemoryAlarm": Case(
        on_broker(alarms_memory_used_watermark=turn(10, 0, 1)),
        BROKER1,
        "Broker broker1 is out of memory: publishers wait",
        [Near(on_broker(alarms_memory_used_watermark=flat(0)))],
        at=10,
    ),
    "BrokerDiskAlarm": Case(
        on_broker(alarms_free_disk_space_watermark=turn(10, 0, 1)),
        BROKER1,
        "Broker broker1 is out of disk space: publishers wait",
        [Near(on_broker(alarms_free_disk_space_watermark=flat(0)))],
        at=10,
    ),
    "BrokerMemoryNear": Case(
        on_broker(process_resident_memory_bytes=flat(91), resident_memory_limit_bytes=flat(100)),
        BROKER1,
        "Broker broker1 takes 91% of its memory",
        [Near(on_broker(process_resident_memory_bytes=flat(90), resident_memory_limit_bytes=flat(100)))],
    ),
    "BrokerDiskWillFill": Case(
        on_broker(
            disk_space_available_bytes=ramp(-1000, 1_500_000), disk_space_available_limit_bytes=flat(70_000)
        ),
        BROKER1,
        "Broker broker1 will be out of disk space within a day",
        [
            Near(
                on_broker(
                    disk_space_available_bytes=ramp(-1000, 1_600_000),
                    disk_space_available_limit_bytes=flat(70_000),
                )
            )
        ],
    ),
    "BrokerFilesNear": Case(
        on_broker(process_open_fds=flat(81), process_max_fds=flat(100)),
        BROKER1,
        "Broker broker1 has 81% of its files open",
        [Near(on_broker(process_open_fds=flat(80), process_max_fds=flat(100)))],
    ),
    "BrokerLinksDown": Case(
        linked((3, 1), cli=True),
        BROKER1,
        "Broker broker1 is linked with 1 other nodes only",
        [Near(linked((3, 3)))],
    ),
    "BrokerVersionsMixed": Case(
        versions("4.0.5", "4.0.5", "3.10.8"),
        {},
        "The brokers run 2 versions of RabbitMQ",
        [Near(versions("4.0.5", "4.0.5"))],
    ),
    "CertificateEnds": Case(
        certificate(20.9),
        FILES,
        f"/etc/x.pem on {HOST} ends within three weeks",
        [Near(certificate(21.2)), Near(certificate(2.9))],
        also=[certificate(3.2)],
    ),
    "CertificateEndsSoon": Case(
        certificate(2.9),
        FILES,
        f"/etc/x.pem on {HOST} ends within three days",
        [Near(certificate(3.1))],
        at=1,
    ),
    "HostDisk": Case(
        {
            **named("node_filesystem_avail_bytes", flat(9), fstype="ext4", mountpoint="/", instance=HOST),
            **named("node_filesystem_size_bytes", flat(100), fstype="ext4", mountpoint="/", instance=HOST),
        },
        {"fstype": "ext4", "mountpoint": "/", "instance": HOST},
        f"/ on {HOST} has 9% left",
        [
            Near(
                {
                    **named("node_filesystem_avail_bytes", flat(11), fstype="ext4", instance=HOST),
                    **named("node_filesystem_size_bytes", flat(100), fstype="ext4", instance=HOST),
                    **named("node_filesystem_avail_bytes", flat(1), fstype="tmpfs", instance=HOST),
                    **named("node_filesystem_size_bytes", flat(100), fstype="tmpfs", instance=HOST),
                }
            )
        ],
    ),
    "HostMemory": Case(
        {
            **named("node_memory_MemAvailable_bytes", flat(48), instance=HOST),
            **named("node_memory_MemTotal_bytes", flat(1000), instance=HOST),
        },
        NODE,
        f"{HOST} has 4.8% of its memory left",
        [
            Near(
                {
                    **named("node_memory_MemAvailable_bytes", flat(52), instance=HOST),
                    **named("node_memory_MemTotal_bytes", flat(1000), instance=HOST),
                }
            )
        ],
    ),
    "HostClock": Case(
        named("node_timex_offset_seconds", flat(-0.55), instance=HOST),
        NODE,
        f"The clock of {HOST} is 550ms off",
        [Near(named("node_timex_offset_seconds", flat(0.48), instance=HOST))],
    ),
    "FleetReportsUnreadable": Case(
        named("celery_fleet_exporter_read_errors", flat(1), instance=HOST),
        NODE,
        f"1 reports of workers on {HOST} cannot be read",
        [Near(named("celery_fleet_exporter_read_errors", flat(0), instance=HOST))],
    ),
    "MonitoringTargetSilent": Case(
        up("node", flat(0)),
        {"job": "node", **NODE},
        f"node of {HOST} does not answer",
        [
            Near(up("node", flat(1))),
            Near({**up("node", flat(0)), **up("celery_fleet", flat(0))}),
            Near({**up("node", flat(0)), **up("rabbitmq", flat(0))}),
            Near(up("celery_fleet", flat(0))),
        ],
    ),
    "MonitoringNotificationsFail": Case(
        named("alertmanager_notifications_failed_total", ramp(1), integration="email"),
        {"integration": "email"},
        "Alerts do not reach their receivers (email)",
        [Near(named("alertmanager_notifications_failed_total", flat(7), integration="email"))],
    ),
    "Watchdog": Case({}, {}, "Monitoring works", [], at=1),
}
