"""Every setting of the supported releases of Celery, who decides it in a fleet, and what that means.

The docs' table is made of this one. Its values are in `values`, and what of them is refused in `refusals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Decides(Enum):
    """Who decides a setting."""

    FLEET = "the fleet"
    BOTH = "both"
    PREFERRED = "the application, else the fleet"
    APPLICATION = "the application"
    REFUSED = "the application, but for some values"


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        decides: Who decides it.
        meaning: What becomes of the application's own value, and what to do instead.
    """

    decides: Decides
    meaning: str


def _fleet(meaning: str) -> Setting:
    return Setting(Decides.FLEET, meaning)


def _both(meaning: str) -> Setting:
    return Setting(Decides.BOTH, meaning)


def _preferred(meaning: str) -> Setting:
    return Setting(Decides.PREFERRED, meaning)


def _application(meaning: str = "Works as in Celery.") -> Setting:
    return Setting(Decides.APPLICATION, meaning)


def _refused(meaning: str) -> Setting:
    return Setting(Decides.REFUSED, meaning)


# By what they are about, with the names of those that share an entry.
PARTS: dict[str, dict[str, Setting]] = {
    "Broker": {
        "broker_url broker_read_url broker_write_url broker_host broker_port broker_user broker_password "
        "broker_vhost broker_transport broker_login_method broker_use_ssl": _fleet(
            "The fleet file names the brokers; each connection reads the password and the certificates "
            "from their files."
        ),
        "broker_transport_options": _both(
            "`client_properties`, `socket_settings`, `channel_max`, `frame_max`, `on_blocked` and "
            "`on_unblocked` stay as the application has them; other options, such as Redis' "
            "`visibility_timeout`, are left out."
        ),
        "broker_connection_retry broker_connection_retry_on_startup broker_connection_max_retries": _fleet(
            "A worker waits for its broker as long as it takes."
        ),
        "broker_channel_error_retry": _fleet(
            "A worker that may not consume ends, so that a deploy notices it."
        ),
        "broker_native_delayed_delivery_queue_type": _fleet(
            "The kit makes the queues in which delays are counted, of its own type."
        ),
        "broker_heartbeat": _preferred("10 seconds; none with gevent."),
        "broker_connection_timeout": _preferred("3 seconds for each step of connecting."),
        "broker_failover_strategy broker_heartbeat_checkrate broker_pool_limit "
        "broker_pool_acquire_timeout": _application(
            "Works as in Celery. Every process begins with another node."
        ),
    },
    "Publishing": {
        "task_queues": _refused(
            "Refused with a queue that copies each task to all workers (`Broadcast`, an exchange of type "
            "fanout). Other queues give way to the model's: add them to a pool's `queues`, or name them in "
            "`fleet_routing.aliases`."
        ),
        "task_create_missing_queues task_create_missing_queue_type "
        "task_create_missing_queue_exchange_type": _fleet(
            "Nobody but the kit declares queues. A task for a queue that the model lacks raises "
            "`QueueNotFound`."
        ),
        "task_default_queue task_default_queue_type task_default_exchange task_default_exchange_type "
        "task_default_routing_key": _fleet("`fleet_routing.default_queue` of the model."),
        "task_send_sent_event": _fleet(
            "Publishers may not send events. Workers may: use `worker_send_task_events`, or the signal "
            "`after_task_publish` in the publisher."
        ),
        "worker_direct": _fleet(
            "A queue for each worker would have to be declared. Name a queue of the model."
        ),
        "task_queue_max_priority": _fleet("The `max_priority` of a queue of the model, for `classic` ones."),
        "task_default_delivery_mode": _fleet("Tasks outlive a restart of the broker."),
        "task_protocol": _fleet("Version 2, whose headers the fleet's routing and dead letters read."),
        "task_serializer": _refused(
            "Refused with `auth`: canaries are not signed, so no queue could be verified, and remote "
            "control is not either. Users of the broker, their rights and TLS say who may publish."
        ),
        "accept_content": _both(
            "`json` is added where it is missing: canaries and the kit's remote control are JSON."
        ),
        "task_routes": _application(
            "A hint, or a queue that the publisher or the task names, comes before it; the rules of the "
            "model after it."
        ),
        "task_publish_retry task_publish_retry_policy": _application(
            "For connections that break. A full queue has a patience of its own, see `configure`."
        ),
        "task_default_priority task_inherit_parent_priority": _application(
            "Quorum queues know two: above 4 goes first on RabbitMQ 4, and none does on 3. Classic ones have "
            "those up to their `max_priority`."
        ),
        "task_always_eager": _fleet(
            "Off in workers and in the scheduler. A client's stays: its tasks run in itself and never "
            "reach the fleet."
        ),
        "task_compression task_eager_propagates task_store_eager_result task_repr_maxlevels "
        "task_allow_error_cb_on_chord_header enable_utc timezone imports include": _application(),
        "security_certificate security_cert_store security_key security_key_password "
        "security_digest": _application("No effect without signed messages, which are refused."),
    },
    "Running tasks": {
        "task_acks_late task_reject_on_worker_lost": _fleet(
            "The pool's `acknowledgement`: late, so that a task whose worker is lost is delivered again. "
            "A task's own `acks_late` and `reject_on_worker_lost` stay."
        ),
        "task_retry_on_worker_lost": _fleet(
            "The broker delivers such a task again and counts; after the pool's `delivery_limit` it is a "
            "dead letter."
        ),
        "task_acks_on_failure_or_timeout": _preferred(
            "A task that raises or exceeds its limit is done. With false, one that raises becomes a dead "
            "letter, and one that exceeds its limit is delivered again up to the pool's `delivery_limit`."
        ),
        "task_acks_on_failure task_acks_on_timeout": _application(
            "As `task_acks_on_failure_or_timeout`, for one of the two."
        ),
        "task_time_limit task_soft_time_limit": _fleet(
            "The pool's `time_limit` and `soft_time_limit`, and a task's own up to them."
        ),
        "worker_prefetch_multiplier worker_max_tasks_per_child worker_pool worker_concurrency": _fleet(
            "The pool's `prefetch_multiplier`, `max_tasks_per_child` and `execution`, and the sizing of "
            "the host."
        ),
        "worker_max_memory_per_child": _application("Where the pool has no `max_memory_per_child`."),
        "task_annotations task_default_rate_limit task_ignore_result task_remote_tracebacks "
        "task_store_errors_even_if_ignored task_track_started worker_disable_rate_limits "
        "worker_deduplicate_successful_tasks worker_lost_wait worker_eta_task_limit": _application(),
        "worker_cancel_long_running_tasks_on_connection_loss": _preferred(
            "False: the tasks that run end, although the broker delivers them again. True cancels them."
        ),
    },
    "Workers": {
        "worker_consumer worker_timer": _fleet(
            "The fleet's own, which reports readiness and follows orders."
        ),
        "worker_autoscaler": _preferred("The fleet's own, which ends idle processes only."),
        "worker_proc_alive_timeout": _preferred("60 seconds."),
        "worker_agent": _fleet("An agent would declare queues."),
        "worker_state_db": _fleet("The old and the new worker of a deploy would write one file."),
        "worker_pool_restarts": _fleet("`playbooks/restart.yml` replaces workers."),
        "worker_detect_quorum_queues": _fleet("Prefetching and delays follow from the type of the queues."),
        "worker_enable_remote_control": _fleet("The kit's verbs use it."),
        "control_exchange control_queue_exclusive control_queue_durable event_exchange event_queue_prefix "
        "event_queue_exclusive event_queue_durable": _fleet(
            "Workers have rights on Celery's own names, and RabbitMQ 4.3 refuses other kinds of queues."
        ),
        "worker_send_task_events event_serializer event_queue_ttl event_queue_expires control_queue_ttl "
        "control_queue_expires": _application(
            "Workers may send events, and declare their own queues for control and events."
        ),
        "worker_hijack_root_logger worker_log_color worker_log_datefmt worker_log_format "
        "worker_redirect_stdouts worker_redirect_stdouts_level worker_task_log_datefmt "
        "worker_task_log_format": _application("Works as in Celery. The log goes to the journal."),
        "worker_pool_start_method": _fleet("Processes are forks of the worker, which is a configured one."),
        "worker_timer_precision": _application(),
        "worker_soft_shutdown_timeout worker_enable_soft_shutdown_on_idle": _application(
            "No effect: the units stop workers by SIGTERM, which waits for what runs."
        ),
        "worker_pool_putlocks worker_disable_prefetch worker_enable_prefetch_count_reduction": _application(
            "No effect: the fleet's workers count their slots themselves."
        ),
    },
    "Periodic tasks": {
        "beat_schedule": _application("An entry of the model's `fleet_schedule` replaces one of its name."),
        "beat_scheduler": _application(
            "The class sends under the fleet's lock. The kit's own takes the place of Celery's classes, and "
            "of their file."
        ),
        "beat_schedule_filename": _application("For other classes, in the scheduler's state directory."),
        "beat_cron_starting_deadline": _application(),
        "beat_enable_remote_control": _fleet(
            "The scheduler may not declare the queue. `playbooks/status.yml` shows how it is."
        ),
        "beat_max_loop_interval": _application("For other classes. The kit's looks once a second."),
        "beat_sync_every beat_remote_control_max_tick_age": _application(
            "No effect: each run is recorded at once."
        ),
    },
    "Results": {
        "result_backend": _refused(
            "Refused with `rpc://` and `amqp://`: every publisher would declare a queue, and workers could "
            "publish to any. Use Redis, Valkey, a database or none; the fleet's own, if any, is the default."
        ),
        "result_exchange result_exchange_type result_persistent": _application(
            "No effect: only results in the broker have it."
        ),
        "result_accept_content result_backend_always_retry result_backend_base_sleep_between_retries_ms "
        "result_backend_max_retries result_backend_max_sleep_between_retries_ms "
        "result_backend_transport_options result_cache_max result_chord_expires result_chord_join_timeout "
        "result_chord_retry_interval result_compression result_expires result_extended "
        "result_failure_expires result_serializer": _application(),
        "arangodb_* azureblockblob_* cache_* cassandra_* cosmosdbsql_* couchbase_* database_* "
        "elasticsearch_* gcs_* mongodb_* redis_* s3_*": _application("Of one result backend."),
    },
}


def _entries() -> Iterator[tuple[str, Setting]]:
    for groups in PARTS.values():
        for names, entry in groups.items():
            yield from ((name, entry) for name in names.split())


SETTINGS: dict[str, Setting] = dict(_entries())


def setting(name: str) -> Setting | None:
    """Return the entry of a setting: its own, or that of the result backend whose it is.

    Args:
        name: The setting's name of today, in lower case.

    Returns:
        The entry; None for what no supported release of Celery knows.
    """
    return SETTINGS.get(name) or SETTINGS.get(name.partition("_")[0] + "_*")
