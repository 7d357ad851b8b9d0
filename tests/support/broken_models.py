"""Models with one fault each, and how a test makes one."""

from typing import Any

from support.fleet_model import LOADED

DELETE = object()


def put(data: Any, path: str, value: object) -> None:
    """Set (or delete) what stands at a dotted path."""
    *parents, last = path.split(".")
    for key in parents:
        data = data[int(key)] if isinstance(data, list) else data.setdefault(key, {})
    if value is DELETE:
        del data[last]
    else:
        data[int(last) if isinstance(data, list) else last] = value


# Finding, path in the model, what is put there, and the variable that is named if it is not that path.
IO = LOADED["pools"]["io"]
SCALED = {"enabled": True, "min": 1, "max": 2}
BROKEN: list[tuple[Any, ...]] = [
    ("model/unknown-key", "pools.cpu.time_limits", 3),
    ("model/unknown-key", "pool_defaults.exchange_typ", "topic"),
    ("model/unknown-key", "pools.cpu.queues.cpu_ml_training.max_len", 1),
    ("model/unknown-key", "app.names", "demo"),
    ("model/unknown-key", "app.source.url", "x"),
    ("model/unknown-key", "pool", {}, "fleet_model.pool"),
    ("model/missing-key", "pools.cpu.exchange", DELETE),
    ("model/missing-key", "reserve.cores", DELETE),
    ("model/missing-key", "routing", DELETE),
    ("model/bad-value", "pools.cpu.kind", "gpu"),
    ("model/bad-value", "pools.cpu.weight", 0),
    ("model/bad-value", "pools.cpu.weight", float("nan")),
    ("model/bad-value", "pools.cpu.time_limit", "3600"),
    ("model/bad-value", "pools.cpu.time_limit", True),
    ("model/bad-value", "pools.cpu.demand.cores", -1),
    ("model/bad-value", "pools.cpu.prefetch_multiplier", 0),
    ("model/bad-value", "pools.cpu.environment.A", "one\ntwo"),
    ("model/bad-value", "pools.cpu.environment.1A", "x"),
    ("app/taken-variable", "app.environment.CELERY_BROKER_URL", "amqp://guest:hunter2@elsewhere//"),
    ("app/taken-variable", "pool_defaults.environment.CELERY_BROKER_READ_URL", "amqp://elsewhere//"),
    ("app/taken-variable", "environment_pools.io.environment.CELERY_BROKER_WRITE_URL", "amqp://elsewhere//"),
    ("app/taken-variable", "pools.cpu.environment.CELERY_FLEET_POOL", "io"),
    (
        "app/taken-variable",
        "profiles.cpu_servers.pools.cpu",
        {"environment": {"CELERY_WORKER_PURGE": 1}},
        "fleet_profiles.cpu_servers.pools.cpu.environment.CELERY_WORKER_PURGE",
    ),
    ("model/bad-value", "app.before_release", "python manage.py migrate"),
    ("model/missing-key", "app.prepare", [{"command": "true"}], "fleet_app.prepare.0.name"),
    (
        "model/bad-value",
        "app.before_release",
        [{"name": "migrate", "command": 'python -c "pass'}],
        "fleet_app.before_release.0.command",
    ),
    (
        "app/shell-command",
        "app.prepare",
        [{"name": "both", "command": "python a.py && python b.py"}],
        "fleet_app.prepare.0.command",
    ),
    (
        "app/duplicate-hook",
        "app.after_release",
        [{"name": "one", "command": "true"}, {"name": "one", "command": "false"}],
        "fleet_app.after_release.1.name",
    ),
    ("model/bad-value", "pools.cpu", "everything"),
    ("model/bad-value", "pools", ["cpu"]),
    ("model/bad-value", "pool_defaults.execution", "solo"),
    ("model/bad-value", "reserve.memory", 1),
    ("model/bad-value", "broker.port", 70000),
    ("model/bad-value", "app.source.type", "svn"),
    ("model/bad-value", "app.celery_app", "demo app"),
    ("name/invalid", "app.name", "../etc"),
    ("name/invalid", "pools.cpu.exchange", "amq.topic"),
    ("name/invalid", "pools.cpu.queues.a b", {"routing_key": "a"}),
    ("name/reserved", "pools.cpu.queues.fleet_verify", {"routing_key": "a"}),
    ("name/reserved", "pools.cpu.exchange", "celery_delayed_3"),
    ("name/reserved", "pools.cpu.queues.cpu_tasks_dead", {"routing_key": "a"}),
    ("pool/bad-name", "pools.gpu-large", {}),
    ("pool/no-queues", "pools.cpu.queues", {}),
    ("pool/none", "pools", {}),
    ("profile/unknown-pool", "profiles.cpu_servers.pools.cpus", {}),
    ("environment/unknown-pool", "environment_pools.i0", {}),
    ("pool/unknown-call", "pools.io.calls", ["gpu"]),
    ("queue/two-owners", "pools.io.queues.cpu_ml_training", {"routing_key": "x.y"}),
    ("mistake/mixed-kinds", "pools.io.queues.cpu_ml_training", {"routing_key": "x.y"}),
    ("mistake/mixed-kinds", "routing.hints.cpu", "io_api_calls"),
    ("mistake/high-prefetch", "pools.cpu.prefetch_multiplier", 4),
    ("mistake/high-prefetch", "environment_pools.memory.prefetch_multiplier", 2),
    ("queue/no-routing-key", "pools.io.queues.io_api_calls.routing_key", DELETE),
    ("queue/no-routing-key", "pools.io.queues.io_api_calls", None),
    ("queue/bad-routing-key", "pools.io.queues.io_api_calls.routing_key", "io.#"),
    ("queue/bad-routing-key", "pools.io.queues.io_api_calls.routing_key", "x" * 220),
    ("exchange/binding-clash", "pools.io.queues.io_file_operations.routing_key", "io.api"),
    ("exchange/delay-clash", "pools.io.queues.io_file_operations.routing_key", "ml"),
    (
        "exchange/delay-clash",
        "pools.io",
        {**IO, "exchange_type": "direct", "queues": {"io_q": {"routing_key": "ml"}}},
        "fleet_pools.io.queues.io_q.routing_key",
    ),
    (
        "exchange/two-types",
        "pools.io",
        {**IO, "exchange": "cpu_tasks", "exchange_type": "direct"},
        "fleet_pools.io.exchange_type",
    ),
    ("limits/missing", "pools.io.time_limit", DELETE),
    ("limits/missing", "pools.io.soft_time_limit", None),
    ("limits/missing", "environment_pools.io.time_limit", None),
    ("limits/missing", "pools.io.max_tasks_per_child", DELETE),
    ("limits/soft-not-below-hard", "pools.io.soft_time_limit", 300),
    (
        "limits/soft-not-below-hard",
        "profiles.balanced_servers.pools.io",
        {"soft_time_limit": 301},
        "fleet_profiles.balanced_servers.pools.io.soft_time_limit",
    ),
    (
        "autoscale/not-prefork",
        "pools.io",
        {**IO, "execution": "threads", "autoscale": SCALED},
        "fleet_pools.io.autoscale.enabled",
    ),
    (
        "autoscale/no-range",
        "pools.general.autoscale",
        {"enabled": True},
        "fleet_pools.general.autoscale.enabled",
    ),
    ("autoscale/empty-range", "pools.io.autoscale.min", 101),
    (
        "autoscale/with-concurrency",
        "pools.io",
        {**IO, "concurrency": 4, "autoscale": SCALED},
        "fleet_pools.io.concurrency",
    ),
    (
        "sizing/empty-range",
        "pools.io",
        {**IO, "min_concurrency": 4, "max_concurrency": 2},
        "fleet_pools.io.min_concurrency",
    ),
    (
        "sizing/outside-range",
        "pools.io",
        {**IO, "concurrency": 4, "max_concurrency": 2},
        "fleet_pools.io.concurrency",
    ),
    ("sizing/unbounded", "pools.io.demand", {"cores": 0, "memory_mib": 0}),
    (
        "model/fleet-wide-field",
        "profiles.cpu_servers.pools.cpu",
        {"exchange": "other"},
        "fleet_profiles.cpu_servers.pools.cpu.exchange",
    ),
    ("routing/unknown-queue", "routing.default_queue", "celery"),
    ("routing/unknown-queue", "routing.hints.gpu", "gpu_training"),
    (
        "routing/unknown-queue",
        "routing.rules.1.branches.1.queue",
        "io_files",
        "fleet_routing.rules.io.branches.1.queue",
    ),
    ("routing/unknown-queue", "routing.aliases.default", "celery"),
    ("routing/unknown-queue", "environment_routing.aliases.default", "celery"),
    ("routing/alias-of-queue", "routing.aliases.io_api_calls", "io_email_sending"),
    ("model/bad-value", "environment_routing.aliases", ["default"]),
    ("routing/no-queue", "routing.rules.0.queue", DELETE),
    ("routing/no-condition", "routing.rules.0.words", DELETE, "fleet_routing.rules.cpu"),
    ("broker/no-address", "broker.nodes", [None], "fleet_broker.nodes.0"),
]
