"""Settings of an application that would break its workers, scheduler and publishers if they counted."""

from __future__ import annotations

import json
from typing import Any

ODD: dict[str, Any] = {
    # Publishers and schedulers would talk to exchanges on which they have no right.
    "task_send_sent_event": True,
    "worker_direct": True,
    "task_create_missing_queues": True,
    "beat_enable_remote_control": True,
    # The scheduler would run its tasks itself, and see nothing come back.
    "task_always_eager": True,
    # Connections would be of another kind, or none.
    "broker_url": "redis://nowhere",
    "broker_transport": "redis",
    "broker_login_method": "EXTERNAL",
    "broker_transport_options": {"visibility_timeout": 3600, "heartbeat": 5},
    # Workers would declare what they have no right on.
    "control_exchange": "mine",
    "control_queue_exclusive": False,
    "event_exchange": "mine",
    "event_queue_prefix": "mine",
    "event_queue_exclusive": False,
    # Workers would not start, or another one would.
    "worker_agent": "nowhere:Agent",
    "worker_consumer": "nowhere:Consumer",
    "worker_pool": "solo",
    "worker_state_db": "/nowhere/state",
    "worker_timer": "nowhere:Timer",
    # Nobody would understand the canaries, or the answers to remote control.
    "task_serializer": "pickle",
    "accept_content": ["pickle"],
    "task_protocol": 1,
    # These are the application's own.
    "broker_failover_strategy": "shuffle",
    "broker_pool_limit": 2,
    "task_track_started": True,
    "worker_deduplicate_successful_tasks": True,
    "worker_eta_task_limit": 100,
    "worker_send_task_events": True,
}

# For `application`, which the tests start, maybe as root; Celery's workers then refuse pickles else.
ENVIRONMENT = {"TEST_SETTINGS": json.dumps(ODD), "C_FORCE_ROOT": "1"}
