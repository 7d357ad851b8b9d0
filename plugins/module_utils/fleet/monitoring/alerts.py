"""Every alert: when it fires, what it says, where its threshold comes from, and the first command to type.

The expressions are the same for every fleet. What differs are constants of the model and the plan, which
`rules.py` records under `celery_fleet:`. One table serves the rules, the page of the docs and the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from ..status.document import CRASHES, STALE_S
from .limits import BROKER_MEMORY, POOL_MEMORY, QUEUE_FILLING, TASK_NEAR_LIMIT

CRITICAL: Final = "critical"
WARNING: Final = "warning"
INFO: Final = "info"
# Of an alert whose series have the severity of their pool as a label.
OF_POOL: Final = ""
MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86400
# The kit renews a certificate a month before its end, so a third of that month has passed without a run.
CERTIFICATE_WARNING_DAYS: Final = 21
CERTIFICATE_CRITICAL_DAYS: Final = 3
RUNBOOK: Final = "docs/reference/alerts.md"


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: Its stable name.
        severity: ``critical``, ``warning`` or ``info``; ``OF_POOL`` if its series say which.
        expr: What must hold, in PromQL.
        minutes: How long it must hold.
        summary: One sentence with the figure, in Prometheus' template language.
        meaning: What is wrong, for whoever reads the runbook.
        threshold: Where the threshold comes from.
        command: The first command to type.
        only: Further conditions, each ``and`` with its labels; without any of them it would be a false alarm.
        unless: Conditions under which nothing is wrong, each with its labels.
        keep_minutes: How long it goes on firing when it holds no longer.
    """

    name: str
    severity: str
    expr: str
    minutes: int
    summary: str
    meaning: str
    threshold: str
    command: str
    only: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    keep_minutes: int = 0

    @property
    def expression(self) -> str:
        """The whole expression."""
        clauses = [*(f"and {each}" for each in self.only), *(f"unless {each}" for each in self.unless)]
        return "\n".join((self.expr, *clauses))

    @property
    def anchor(self) -> str:
        """Its place in the page of the docs."""
        return f"{RUNBOOK}#{self.name.lower()}"

    def rule(self, patience: Fraction = Fraction(1)) -> dict[str, Any]:
        """Return the rule as Prometheus reads it.

        Args:
            patience: Share of its time that it waits.
        """
        return {
            "alert": self.name,
            "expr": self.expression,
            **_lasting("for", self.minutes, patience),
            **_lasting("keep_firing_for", self.keep_minutes, patience),
            **({"labels": {"severity": self.severity}} if self.severity else {}),
            "annotations": {"summary": self.summary, "command": self.command, "runbook": self.anchor},
        }


def _lasting(field: str, minutes: int, patience: Fraction) -> dict[str, str]:
    return {field: f"{round(minutes * MINUTE_S * patience)}s"} if minutes else {}


def _grown(selector: str, by: str, minutes: int) -> str:
    """Return an expression for how much a counter has grown, also if its series is new.

    Prometheus takes a series that begins at 1 for one that has not grown. A new one counts if its host was
    read without it before: when a host is read for the first time, or again, all of its counters are new.
    """
    new = f"{selector} unless {selector} offset {minutes}m"
    read = f'sum_over_time(up{{job="celery_fleet"}}[{minutes}m])'
    seen = f"count_over_time({selector}[{minutes}m]) < on (instance) group_left () {read}"
    return f"sum by ({by}) ((({new}) and ({seen})) or increase({selector}[{minutes}m]))"


_STATUS: Final = "ansible-playbook playbooks/status.yml -i prod"
_PLAN: Final = "ansible-playbook playbooks/plan.yml -i prod"
_LETTERS: Final = "ansible-playbook playbooks/dead_letters.yml -i prod"
_BROKER_LOG: Final = "journalctl --unit rabbitmq-server --since -1h"
_WORKER_LOG: Final = "journalctl --unit 'celery-fleet-*@*' --since -1h --priority warning"

_DRAINED: Final = "on (instance, pool) celery_fleet_pool_drained == 1"
_STOPPING: Final = 'celery_fleet_worker_state{state="stopping"} == 1'
_AT_LEAST_ONCE: Final = '{dead_letter_strategy="at_least_once"}'
_A_BROKER: Final = "on () celery_fleet:brokers_up > 0"
_SCRAPED: Final = 'on (instance) up{job="celery_fleet"} == 1'
# A worker whose slots change was told to: by `scale`, until the next deploy, or by its autoscaler.
_SCALED: Final = "on (instance, pool) changes(celery_fleet_worker_slots[1d]) > 0"

ALERTS: Final = (
    # Is anything refused or lost?
    Alert(
        "FleetQueueFull",
        CRITICAL,
        "celery_fleet:queue_ready / on (queue) group_left (pool) celery_fleet:queue_max_length >= 1",
        1,
        "{{ $labels.queue }} is full: {{ $value | humanizePercentage }} of its max_length",
        "Publishers are refused (`reject-publish`), or the oldest tasks are dead-lettered (`drop-head`).",
        "the queue's `max_length`",
        _STATUS,
    ),
    Alert(
        "FleetQueueFilling",
        WARNING,
        "celery_fleet:queue_ready / on (queue) group_left (pool) celery_fleet:queue_max_length "
        f"> {QUEUE_FILLING}",
        5,
        "{{ $labels.queue }} is {{ $value | humanizePercentage }} full",
        "More is published than is worked on. A full queue refuses its publishers.",
        f"{QUEUE_FILLING} of the queue's `max_length`",
        _STATUS,
    ),
    Alert(
        "FleetQueueWillFill",
        WARNING,
        "predict_linear(celery_fleet:queue_ready[30m], 3600) "
        "/ on (queue) group_left (pool) celery_fleet:queue_max_length > 1",
        15,
        "{{ $labels.queue }} will be full within an hour",
        "At the pace of the last half hour the queue reaches its `max_length` within an hour.",
        "the queue's `max_length`, from 0.3 of it on",
        _PLAN,
        only=("on (queue) celery_fleet:queue_ready / on (queue) celery_fleet:queue_max_length > 0.3",),
    ),
    Alert(
        "FleetPublishersRefused",
        CRITICAL,
        "sum(increase(rabbitmq_global_messages_received_confirm_total[5m])) "
        "- sum(increase(rabbitmq_global_messages_confirmed_total[5m])) > 5",
        5,
        'The broker refused {{ $value | printf "%.0f" }} messages of the last 5 minutes',
        "Messages were not confirmed: their queues are full, or have no majority of nodes.",
        "5 messages and a hundredth of them in 5 minutes, more than are on their way",
        _STATUS,
        only=(
            "1 - sum(increase(rabbitmq_global_messages_confirmed_total[5m])) "
            "/ sum(increase(rabbitmq_global_messages_received_confirm_total[5m])) > 0.01",
        ),
    ),
    Alert(
        "FleetDeadLetters",
        WARNING,
        "celery_fleet:queue_ready - min_over_time(celery_fleet:queue_ready[1h]) > 0",
        0,
        "{{ $labels.queue }} got {{ $value }} dead letters within an hour",
        "Tasks were rejected, or delivered more often than `delivery_limit` allows.",
        "one dead letter within an hour",
        _LETTERS,
        only=("on (queue) celery_fleet:dead_letter_length",),
    ),
    Alert(
        "FleetDeadLettersStuck",
        WARNING,
        " + ".join(
            f"sum(rabbitmq_global_messages_dead_lettered_{why}_total{_AT_LEAST_ONCE})"
            for why in ("expired", "rejected", "delivery_limit")
        )
        + f" - sum(rabbitmq_global_messages_dead_lettered_confirmed_total{_AT_LEAST_ONCE}) > 0",
        10,
        "{{ $value }} dead letters do not arrive in their queue",
        "The queue keeps them until the queue of dead letters takes them: that one is full, or gone.",
        "one dead letter",
        _LETTERS,
    ),
    Alert(
        "FleetDeadLetterQueueFilling",
        CRITICAL,
        f"celery_fleet:queue_ready / on (queue) celery_fleet:dead_letter_length > {QUEUE_FILLING}",
        5,
        "{{ $labels.queue }} is {{ $value | humanizePercentage }} full",
        "When the queue of dead letters is full, its tasks stay in their own queues and fill those.",
        f"{QUEUE_FILLING} of the sum of `max_length` of the queues behind it, or of 10 000 if that is less",
        _LETTERS,
    ),
    Alert(
        "FleetTasksLost",
        WARNING,
        _grown('celery_fleet_task_failures_total{reason="lost"}', "pool, task", 15) + " > 0",
        0,
        '{{ $labels.task }} lost its process {{ $value | printf "%.0f" }} times',
        "The process died under the task: killed for its memory, or crashed. The task is delivered again.",
        "one task within 15 minutes",
        _WORKER_LOG,
    ),
    Alert(
        "BrokerUnroutable",
        WARNING,
        "sum(increase(rabbitmq_global_messages_unroutable_returned_total[5m])) "
        "+ (sum(increase(rabbitmq_global_messages_unroutable_dropped_total[5m])) "
        "and on () (celery_fleet:event_pools == 0) or vector(0)) > 0",
        0,
        '{{ $value | printf "%.0f" }} messages of the last 5 minutes reached no queue',
        "Somebody publishes to an exchange with a key that no queue is bound to, perhaps beside the fleet.",
        "one message within 5 minutes; where pools send events, which reach no queue while Flower is away, "
        "only one that its publisher got back",
        "ansible-playbook playbooks/verify.yml -i prod",
    ),
    # How long does work wait?
    Alert(
        "FleetWaitHigh",
        OF_POOL,
        "celery_fleet:queue_wait_seconds:p95 "
        "> on (pool) group_left (severity) celery_fleet:wait_target_seconds",
        10,
        "Tasks of {{ $labels.queue }} wait {{ $value | humanizeDuration }} (95 of 100 less)",
        "Tasks wait longer than the pool's target until they start.",
        "the pool's `wait_target`, or its `soft_time_limit`",
        _STATUS,
        keep_minutes=5,
    ),
    Alert(
        "FleetTasksWaitThoughSlotsAreFree",
        CRITICAL,
        "celery_fleet:pool_ready > 0",
        10,
        "{{ $value }} tasks wait for {{ $labels.pool }} though slots are free, and none ends",
        "Workers have free slots, tasks wait in the queues, and no task of the pool ends: deliveries hang.",
        "10 minutes",
        _STATUS,
        only=("on (pool) celery_fleet:pool_free_slots > 0", "on (pool) celery_fleet:pool_tasks:rate5m == 0"),
    ),
    Alert(
        "FleetDrainTooSlow",
        WARNING,
        "celery_fleet:pool_drain_seconds > on (pool) group_left () "
        "max by (pool) (celery_fleet:wait_target_seconds * 2)",
        15,
        "What waits for {{ $labels.pool }} takes {{ $value | humanizeDuration }} to be worked on",
        "At the mean runtime of its tasks the pool needs more than twice its target for what waits now.",
        "twice the pool's `wait_target`",
        _PLAN,
    ),
    Alert(
        "FleetQueueMissing",
        CRITICAL,
        "celery_fleet:queue_pool",
        5,
        "No broker knows of {{ $labels.queue }}",
        "The queue is gone, or has no leader, so its tasks are neither taken nor delivered.",
        "the model's `queues`",
        "ansible-playbook playbooks/broker.yml -i prod --check --diff",
        only=(_A_BROKER,),
        unless=("on (queue) celery_fleet:queue_ready",),
    ),
    Alert(
        "FleetQueueWithoutConsumers",
        CRITICAL,
        "celery_fleet:queue_consumers * on (queue) group_left (pool) celery_fleet:queue_pool == 0",
        5,
        "Nobody consumes {{ $labels.queue }}",
        "No worker takes tasks of this queue, although hosts are planned to run its pool.",
        "the profiles, and which hosts are drained",
        _STATUS,
        only=("on (pool) celery_fleet:planned_slots",),
        unless=(
            "on (pool) min by (pool) (celery_fleet_pool_drained) == 1",
            f"on (pool) {_STOPPING}",
        ),
    ),
    # Are the slots there, and used?
    Alert(
        "FleetPoolSaturated",
        WARNING,
        "celery_fleet:pool_utilisation > 0.95",
        30,
        "All slots of {{ $labels.pool }} are busy ({{ $value | humanizePercentage }}) and its tasks wait",
        "The pool works at its limit while tasks wait for half of its target: it needs more hosts.",
        "0.95 of the slot seconds, and half of `wait_target`",
        _PLAN,
        only=(
            "on (pool) celery_fleet:queue_wait_seconds:p95 > on (pool) group_left () "
            "max by (pool) (celery_fleet:wait_target_seconds / 2)",
        ),
    ),
    Alert(
        "FleetSlotsBelowPlan",
        WARNING,
        "celery_fleet:planned_slots - on (instance, pool) celery_fleet:host_slots > 0",
        15,
        "{{ $labels.pool }} on {{ $labels.instance }} has {{ $value }} slots fewer than planned",
        "The workers of the host run fewer tasks at once than the plan says, and were not told to.",
        "the plan's concurrency of the host; what `scale` changed without `scale_persist` counts after a day",
        _PLAN,
        unless=(_DRAINED, _SCALED),
    ),
    Alert(
        "FleetWorkerMissing",
        CRITICAL,
        "celery_fleet:planned_slots",
        5,
        "{{ $labels.instance }} runs no worker of {{ $labels.pool }}",
        "The plan has the pool on this host, it is not drained, and no worker of it runs.",
        "the plan",
        _STATUS,
        only=(_SCRAPED,),
        unless=("on (instance, pool) celery_fleet_worker_info", _DRAINED),
    ),
    Alert(
        "FleetHostSilent",
        CRITICAL,
        'up{job="celery_fleet"} == 0',
        2,
        "{{ $labels.instance }} does not answer",
        "The host is down, cut off, or its exporter does not run.",
        "the inventory; a host whose pools were all drained may be away for 15 minutes",
        _STATUS,
        unless=("on (instance) min by (instance) (max_over_time(celery_fleet_pool_drained[15m])) == 1",),
    ),
    Alert(
        "FleetWorkerSilent",
        WARNING,
        f"time() - celery_fleet_worker_state_timestamp_seconds > {STALE_S}",
        1,
        "{{ $labels.worker }} on {{ $labels.instance }} has not reported for {{ $value | humanizeDuration }}",
        "A worker reports at least every ten seconds; its main process hangs.",
        f"{STALE_S} s, as in `status`",
        _WORKER_LOG,
    ),
    Alert(
        "FleetWorkerWaits",
        WARNING,
        'celery_fleet_worker_state{state="waiting"} == 1',
        2,
        "{{ $labels.worker }} on {{ $labels.instance }} does not reach the broker",
        "The worker waits for a broker: none answers, or it may not log in.",
        "2 minutes",
        _WORKER_LOG,
    ),
    Alert(
        "FleetWorkerCrashes",
        CRITICAL,
        "celery_fleet_worker_restarts_total "
        f"- min_over_time(celery_fleet_worker_restarts_total[10m]) >= {CRASHES}",
        0,
        "{{ $labels.worker }} on {{ $labels.instance }} was started again {{ $value }} times",
        "The worker ends again and again; systemd starts it each time.",
        f"{CRASHES} starts within 10 minutes, as in `status`",
        _WORKER_LOG,
    ),
    Alert(
        "FleetTwoInstances",
        WARNING,
        'count by (instance, pool) (celery_fleet_worker_state{state="consuming"} == 1) > 1',
        15,
        "{{ $value }} workers of {{ $labels.pool }} consume on {{ $labels.instance }}",
        "Two releases take tasks at once for longer than a rollover lasts, beyond the host's plan.",
        "15 minutes",
        _STATUS,
    ),
    Alert(
        "FleetPausedUndrained",
        WARNING,
        'celery_fleet_worker_state{state="paused"} == 1',
        5,
        "{{ $labels.worker }} on {{ $labels.instance }} takes no tasks, and was not drained",
        "An order pauses the worker, but no drain mark says so: a verb was interrupted.",
        "5 minutes",
        "ansible-playbook playbooks/undrain.yml -i prod --limit HOST",
        unless=(_DRAINED, f"on (instance, pool) {_STOPPING}"),
    ),
    # What fails?
    Alert(
        "FleetTasksFail",
        OF_POOL,
        "celery_fleet:pool_failure_ratio > on (pool) group_left (severity) celery_fleet:failure_ratio",
        5,
        "{{ $value | humanizePercentage }} of the tasks of {{ $labels.pool }} fail",
        "More tasks fail than the pool's `failure_ratio` allows.",
        "the pool's `failure_ratio`, from 20 tasks in 15 minutes on",
        _WORKER_LOG,
        only=(
            "on (pool) sum by (pool) "
            '(increase(celery_fleet_tasks_total{state=~"success|failure"}[15m])) > 20',
        ),
    ),
    Alert(
        "FleetTimeLimits",
        WARNING,
        _grown('celery_fleet_task_failures_total{reason=~"time_limit|soft_time_limit"}', "pool, task", 60)
        + " > 0",
        0,
        '{{ $labels.task }} hit a time limit {{ $value | printf "%.0f" }} times within an hour',
        "Tasks run longer than their pool allows, and are ended.",
        "the pool's `time_limit` and `soft_time_limit`",
        _WORKER_LOG,
    ),
    Alert(
        "FleetTaskNearLimit",
        INFO,
        "histogram_quantile(0.99, sum by (pool, task, le) "
        "(rate(celery_fleet_task_runtime_seconds_bucket[1h]))) "
        f"/ on (pool) group_left () celery_fleet:soft_time_limit_seconds > {TASK_NEAR_LIMIT}",
        30,
        "{{ $labels.task }} runs for {{ $value | humanizePercentage }} of its soft time limit",
        "One of a hundred runs comes near the limit. The next larger input goes beyond it.",
        f"{TASK_NEAR_LIMIT} of the pool's `soft_time_limit`",
        _PLAN,
    ),
    Alert(
        "FleetTaskOutlivesLimit",
        WARNING,
        "(time() - celery_fleet_worker_oldest_task_start_timestamp_seconds) "
        "/ on (pool) group_left () (celery_fleet:time_limit_seconds + 60) > 1",
        1,
        "A task on {{ $labels.instance }} runs for {{ $value | humanizePercentage }} of its hard limit",
        "Nothing ended the task at its limit: it computes in a greenlet, or its process hangs in the kernel.",
        "the pool's `time_limit` and a minute",
        _STATUS,
    ),
    Alert(
        "FleetRedeliveries",
        WARNING,
        "celery_fleet:pool_redelivery_ratio > 0.05",
        30,
        "{{ $value | humanizePercentage }} of the tasks of {{ $labels.pool }} were delivered before",
        "Workers lose tasks and get them again, which is more than a deploy or a drain does.",
        "0.05, for longer than a deploy is seen",
        _WORKER_LOG,
    ),
    # What do the hosts bear?
    Alert(
        "FleetPoolOutOfMemory",
        WARNING,
        "increase(celery_fleet_pool_oom_kills_total[15m]) > 0",
        0,
        "Tasks of {{ $labels.pool }} were killed for their memory on {{ $labels.instance }}",
        "The pool took more than its share of the host. A task needs more than the model says.",
        "the pool's `demand.memory_mib`",
        _PLAN,
    ),
    Alert(
        "FleetPoolMemoryHigh",
        WARNING,
        "celery_fleet_pool_memory_bytes / on (instance, pool) celery_fleet:planned_memory_bytes "
        f"> {POOL_MEMORY}",
        15,
        "{{ $labels.pool }} takes {{ $value | humanizePercentage }} of its memory on {{ $labels.instance }}",
        "The kernel kills a task of the pool when it takes all of it.",
        f"{POOL_MEMORY} of the pool's `MemoryMax`, from the plan",
        _PLAN,
    ),
    # The scheduler
    Alert(
        "FleetSchedulerNone",
        CRITICAL,
        "celery_fleet:schedulers",
        2,
        "No scheduler is active: nothing periodic is sent",
        "None of the hosts that may send periodic tasks does; a lost one is replaced within a minute.",
        "2 minutes",
        _STATUS,
        unless=('on () sum(celery_fleet_beat_role{role="active"}) > 0',),
    ),
    Alert(
        "FleetSchedulerTwo",
        CRITICAL,
        'sum(celery_fleet_beat_role{role="active"}) > 1',
        1,
        "{{ $value }} schedulers are active: periodic tasks are sent more than once",
        "Two hosts hold the lock at once.",
        "1 minute",
        _STATUS,
    ),
    Alert(
        "FleetScheduleMissed",
        WARNING,
        "time() - max by (entry) (celery_fleet_beat_next_run_timestamp_seconds) "
        "> on (entry) celery_fleet:entry_late_seconds",
        1,
        "{{ $labels.entry }} is {{ $value | humanizeDuration }} late",
        "The scheduler should have sent this task.",
        "the entry's `late`: as long as `every` and at least a minute, or an hour",
        "journalctl --unit celery-fleet-beat --since -1h",
    ),
    # The broker
    Alert(
        "BrokerDown",
        WARNING,
        'up{job="rabbitmq"} == 0',
        2,
        "Broker {{ $labels.instance }} does not answer",
        "The node is down or cut off. The others go on as long as they are a majority.",
        "the inventory",
        _BROKER_LOG,
    ),
    Alert(
        "BrokerLastMajority",
        CRITICAL,
        "celery_fleet:brokers_up == on () celery_fleet:brokers_last",
        2,
        "{{ $value }} brokers are left: the loss of one more stops the fleet",
        "Just enough nodes are left to go on.",
        "more than half of the brokers",
        _BROKER_LOG,
    ),
    Alert(
        "BrokerNoMajority",
        CRITICAL,
        "celery_fleet:brokers_up < on () celery_fleet:brokers_needed",
        1,
        "The broker stands still: too few of its nodes answer",
        "Without a majority of nodes no task is taken or delivered. Workers and publishers wait.",
        "half of the brokers",
        _BROKER_LOG,
        # What follows from it is over when workers and schedulers have connected again.
        keep_minutes=5,
    ),
    Alert(
        "BrokerMemoryAlarm",
        CRITICAL,
        "max_over_time(rabbitmq_alarms_memory_used_watermark[5m]) > 0",
        0,
        "Broker {{ $labels.instance }} is out of memory: publishers wait",
        "The node holds back all publishers until it has memory again.",
        "`broker_memory_watermark`",
        "rabbitmq-diagnostics memory_breakdown",
    ),
    Alert(
        "BrokerDiskAlarm",
        CRITICAL,
        "max_over_time(rabbitmq_alarms_free_disk_space_watermark[5m]) > 0",
        0,
        "Broker {{ $labels.instance }} is out of disk space: publishers wait",
        "The node holds back all publishers until it has space again.",
        "`broker_disk_free_limit`",
        "df -h /var/lib/rabbitmq",
    ),
    Alert(
        "BrokerMemoryNear",
        WARNING,
        f"rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes > {BROKER_MEMORY}",
        5,
        "Broker {{ $labels.instance }} takes {{ $value | humanizePercentage }} of its memory",
        "At its limit the node holds back all publishers.",
        f"{BROKER_MEMORY} of `broker_memory_watermark`",
        "rabbitmq-diagnostics memory_breakdown",
    ),
    Alert(
        "BrokerDiskWillFill",
        WARNING,
        "predict_linear(rabbitmq_disk_space_available_bytes[6h], 86400) "
        "< rabbitmq_disk_space_available_limit_bytes",
        60,
        "Broker {{ $labels.instance }} will be out of disk space within a day",
        "At the pace of the last six hours the node has to hold back all publishers within a day.",
        "`broker_disk_free_limit`",
        "df -h /var/lib/rabbitmq",
    ),
    Alert(
        "BrokerFilesNear",
        WARNING,
        "rabbitmq_process_open_fds / rabbitmq_process_max_fds > 0.8",
        10,
        "Broker {{ $labels.instance }} has {{ $value | humanizePercentage }} of its files open",
        "At its limit the node takes no more connections.",
        "0.8 of the node's limit of open files",
        "rabbitmqctl list_connections user peer_host",
    ),
    Alert(
        "BrokerLinksDown",
        CRITICAL,
        'count by (instance) (erlang_vm_dist_node_state{peer=~"rabbit@.*"} == 3) '
        "< on () group_left () (celery_fleet:brokers - 1)",
        5,
        "Broker {{ $labels.instance }} is linked with {{ $value }} other nodes only",
        "Nodes of the cluster do not see each other.",
        "each node sees all others",
        "rabbitmqctl cluster_status",
    ),
    Alert(
        "BrokerVersionsMixed",
        WARNING,
        "count(count by (rabbitmq_version) (rabbitmq_build_info)) > 1",
        60,
        "The brokers run {{ $value }} versions of RabbitMQ",
        "An upgrade was not finished.",
        "an hour",
        "ansible-playbook playbooks/broker_upgrade.yml -i prod",
    ),
    # The machines, and monitoring itself
    Alert(
        "CertificateEnds",
        WARNING,
        f"(celery_fleet_certificate_expiry_timestamp_seconds - time()) / 86400 < {CERTIFICATE_WARNING_DAYS}",
        60,
        "{{ $labels.file }} on {{ $labels.instance }} ends within three weeks",
        "Each run renews the kit's own certificates a month before their end; a site renews its own.",
        f"{CERTIFICATE_WARNING_DAYS} days; `tls_renew_before_days` is 30",
        "ansible-playbook playbooks/rotate_certificates.yml -i prod",
        unless=(
            "on (instance, file) (celery_fleet_certificate_expiry_timestamp_seconds - time()) / 86400 "
            f"< {CERTIFICATE_CRITICAL_DAYS}",
        ),
    ),
    Alert(
        "CertificateEndsSoon",
        CRITICAL,
        f"(celery_fleet_certificate_expiry_timestamp_seconds - time()) / 86400 < {CERTIFICATE_CRITICAL_DAYS}",
        0,
        "{{ $labels.file }} on {{ $labels.instance }} ends within three days",
        "When it has ended, nobody connects any more.",
        f"{CERTIFICATE_CRITICAL_DAYS} days",
        "ansible-playbook playbooks/rotate_certificates.yml -i prod",
    ),
    Alert(
        "HostDisk",
        WARNING,
        'node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs"} '
        "/ node_filesystem_size_bytes < 0.1",
        15,
        "{{ $labels.mountpoint }} on {{ $labels.instance }} has {{ $value | humanizePercentage }} left",
        "A full disk stops deploys, logs, and a broker.",
        "0.1 of the filesystem",
        "df -h",
    ),
    Alert(
        "HostMemory",
        WARNING,
        "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
        10,
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its memory left",
        "Something beside the pools takes the part of the host that they leave.",
        "half of `fleet_reserve.memory` as it is shipped",
        "ps aux --sort -rss",
    ),
    Alert(
        "HostClock",
        WARNING,
        "abs(node_timex_offset_seconds) > 0.5",
        10,
        "The clock of {{ $labels.instance }} is {{ $value | humanizeDuration }} off",
        "Waiting times are taken from the clocks of two hosts.",
        "half a second",
        "timedatectl timesync-status",
    ),
    Alert(
        "FleetReportsUnreadable",
        WARNING,
        "celery_fleet_exporter_read_errors > 0",
        10,
        "{{ $value }} reports of workers on {{ $labels.instance }} cannot be read",
        "A worker's figures are missing, because its file is not what the exporter expects.",
        "10 minutes",
        "journalctl --unit 'celery-fleet-exporter*' --since -1h",
    ),
    Alert(
        "MonitoringTargetSilent",
        WARNING,
        'up{job=~"node|prometheus|alertmanager"} == 0',
        10,
        "{{ $labels.job }} of {{ $labels.instance }} does not answer",
        "A part of monitoring is not running, so its alerts cannot fire.",
        "10 minutes",
        "systemctl --failed",
        unless=('on (instance) up{job="celery_fleet"} == 0', 'on (instance) up{job="rabbitmq"} == 0'),
    ),
    Alert(
        "MonitoringNotificationsFail",
        WARNING,
        "sum by (integration) (increase(alertmanager_notifications_failed_total[15m])) > 0",
        15,
        "Alerts do not reach their receivers ({{ $labels.integration }})",
        "A receiver refuses what Alertmanager sends, or is not there.",
        "one failure within 15 minutes",
        "journalctl --unit prometheus-alertmanager --since -1h",
    ),
    Alert(
        "Watchdog",
        "watchdog",
        "vector(1)",
        0,
        "Monitoring works",
        "It always fires. A service outside that gets it tells when it stops.",
        "none",
        "systemctl status prometheus prometheus-alertmanager",
    ),
)


def alert_rules(patience: Fraction = Fraction(1)) -> dict[str, Any]:
    """Return the file of alerts, whose expressions are the same for every fleet.

    Args:
        patience: Share of their times that they wait.
    """
    return {"groups": [{"name": "celery_fleet", "rules": [each.rule(patience) for each in ALERTS]}]}
