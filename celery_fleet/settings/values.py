"""The values of the settings that the fleet decides, as they follow from the fleet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery.app.defaults import SETTING_KEYS
from kombu import Exchange, Queue

from celery_fleet import connection, nodes
from celery_fleet.fleet import Fleet, Pool

# Options of the transport that an application may have. Others are the fleet's, are of another kind of
# broker, or would be given to py-amqp twice, which then connects to nothing.
TRANSPORT_OPTIONS = frozenset(
    {"channel_max", "client_properties", "frame_max", "on_blocked", "on_unblocked", "socket_settings"}
)

JSON = frozenset({"json", "application/json"})

# Celery imports the class when it first needs a result.
RESULTS = "celery_fleet.results:FleetBackend"

CONSUMER = "celery_fleet.worker.consumer:FleetConsumer"
AUTOSCALER = "celery_fleet.worker.slots:FleetAutoscaler"


def task_queues(fleet: Fleet) -> list[Queue]:
    """Return the queues of all pools as Celery wants them. Nothing is declared from here.

    The queue type is told nevertheless: Celery turns on native delays and the right kind of
    prefetching by what it finds in its own settings.
    """
    return [
        Queue(
            queue.name,
            Exchange(pool.exchange, type=pool.exchange_type, no_declare=True),
            routing_key=queue.routing_key,
            queue_arguments={"x-queue-type": pool.queue_type},
            no_declare=True,
        )
        for pool, queue in fleet.addresses().values()
    ]


def names_of(queues: Any) -> set[str]:  # noqa: ANN401 - a list, a mapping, or nothing
    """Return the names of queues as Celery takes them."""
    named = (
        queues if isinstance(queues, Mapping) else [getattr(queue, "name", queue) for queue in queues or ()]
    )
    return {name for name in named if isinstance(name, str)}


def owned(fleet: Fleet, pool_name: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the fleet decides, whatever the application sets.

    Args:
        fleet: The fleet.
        pool_name: The pool whose worker this process is; None in clients.
        own: The settings so far, with the fleet's defaults, for those that are extended instead of
            replaced.

    Returns:
        Settings by name.
    """
    pool = None if pool_name is None else fleet.pools[pool_name]
    login = pool or fleet.broker
    late = pool is None or pool.acknowledgement == "late"
    settings: dict[str, Any] = {
        "broker_url": nodes.urls(fleet.broker, login.user),
        # Celery prefers these two to the one above.
        "broker_read_url": None,
        "broker_write_url": None,
        **dict.fromkeys(
            ("broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost"),
        ),
        # Celery prefers it to the URL's scheme.
        "broker_transport": None,
        "broker_login_method": None,
        # The transport does it by the fleet file.
        "broker_use_ssl": False,
        # The broker's absence is an operator's matter; a worker that gives up is one more.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": False,
        "broker_native_delayed_delivery_queue_type": "quorum",
        "broker_transport_options": {
            **{
                name: value
                for name, value in (own.get("broker_transport_options") or {}).items()
                if name in TRANSPORT_OPTIONS
            },
            **connection.transport_options(
                fleet.broker, login.password_file, own["broker_connection_timeout"]
            ),
        },
        **_routing(fleet),
        "accept_content": _with_json(own.get("accept_content")),
        "task_send_sent_event": False,
        "task_protocol": 2,
        "task_default_delivery_mode": 2,
        "task_acks_late": late,
        # Without it a task whose process is killed (out of memory, say) is acknowledged and lost.
        "task_reject_on_worker_lost": late,
        "task_retry_on_worker_lost": False,
        "worker_detect_quorum_queues": True,
        # Celery writes these into every message that a process publishes, where they would win over
        # those of the pool that runs the task. Workers apply their pool's (worker/limits.py).
        "task_time_limit": None,
        "task_soft_time_limit": None,
        # Would be a queue of its own for each worker, which nobody declares.
        "worker_direct": False,
        "worker_consumer": CONSUMER,
        # The names on which workers have rights.
        "control_exchange": "celery",
        "event_exchange": "celeryev",
        "event_queue_prefix": "celeryev",
        **dict.fromkeys(("control_queue_exclusive", "event_queue_exclusive"), True),
        **dict.fromkeys(("control_queue_durable", "event_queue_durable"), False),
        "beat_enable_remote_control": False,
    }
    if pool is not None:
        settings |= _of_worker(pool)
    # Earlier releases do not have all of them.
    return {name: value for name, value in settings.items() if name in SETTING_KEYS}


def _routing(fleet: Fleet) -> dict[str, Any]:
    pool, queue = fleet.addresses()[fleet.routing.default_queue]
    return {
        "task_queues": task_queues(fleet),
        "task_create_missing_queues": False,
        "task_create_missing_queue_type": "classic",
        "task_create_missing_queue_exchange_type": None,
        "task_queue_max_priority": None,
        "task_default_queue": queue.name,
        "task_default_queue_type": pool.queue_type,
        "task_default_exchange": pool.exchange,
        "task_default_exchange_type": pool.exchange_type,
        "task_default_routing_key": queue.routing_key,
    }


def _with_json(accepted: Iterable[str] | None) -> list[str] | None:
    """Return what workers accept, canaries and the kit's remote control among it; None is everything."""
    if accepted is None:
        return None
    names = [accepted] if isinstance(accepted, str) else list(accepted)
    return names if JSON & set(names) else [*names, "json"]


def defaults(fleet: Fleet, pool_name: str | None) -> dict[str, Any]:
    """Return the settings that the fleet prefers where the application is silent."""
    green = pool_name is not None and fleet.pools[pool_name].execution == "gevent"
    return {
        **({} if fleet.results is None else {"result_backend": RESULTS}),
        # Seconds. With heartbeats Celery's loop for gevent waits a tenth of a second in every round,
        # which leaves ten tasks a second; TCP's own keepalive has to do there.
        "broker_heartbeat": 0 if green else 10,
        "broker_connection_timeout": connection.CONNECT_TIMEOUT,
        # When the connection breaks, the broker delivers unacknowledged tasks again while they
        # still run. Cancelling them would throw away up to two hours of work for a network blip,
        # and cannot be done to threads at all. Running twice is what tasks have to stand anyway.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A task that raises or exceeds its limit has failed, which is a result: delivered again it
        # would do the same again.
        "task_acks_on_failure_or_timeout": True,
        # Seconds until a process of a prefork pool that has not started is killed. Celery's own four are too
        # few on a busy host, which would then kill and start processes without end.
        "worker_proc_alive_timeout": 60.0,
        # Celery's own may end a process that has just begun a task.
        "worker_autoscaler": AUTOSCALER,
    }


def _of_worker(pool: Pool) -> dict[str, Any]:
    return {
        # The unit's command line says the same, and how many.
        "worker_pool": pool.execution,
        # A spawned process would import the application and use a copy of it without the fleet.
        "worker_pool_start_method": "fork",
        "worker_concurrency": None,
        "worker_prefetch_multiplier": pool.prefetch_multiplier,
        "worker_max_tasks_per_child": pool.max_tasks_per_child,
        # A task that calls others would run them in its own process.
        "task_always_eager": False,
        # `inspect` and `control`, which the operator's verbs use.
        "worker_enable_remote_control": True,
        "worker_agent": None,
        "worker_pool_restarts": False,
        # Two instances of a pool on one host would write one file.
        "worker_state_db": None,
        "worker_timer": None,
    }
