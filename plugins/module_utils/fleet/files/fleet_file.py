"""`fleet.json`: the fleet, for the Python package on workers and clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..broker.objects import VERIFY_KEY
from ..broker.rights import FLOWER, worker_user
from ..host.names import CA_FILE, SECRETS
from ..model.application import SCHEDULER
from ..model.host import read_host
from ..model.names import DEAD, RESULTS_CLIENT, RESULTS_WORKER, VERIFY
from ..model.pools import effective_pools
from ..model.read import read_model
from .digest import digest

SCHEMA: Final = 2


def fleet_file(raw_model: object, host: object = None) -> dict[str, Any]:
    """Return the content of ``fleet.json``.

    Args:
        raw_model: The mapping ``fleet_model``.
        host: What ``read_host`` takes; its fields count for the pools that it runs.

    Returns:
        The file's content in plain types; secrets are named by path only.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    host_pools = effective_pools(model, read_host(host), findings)
    findings.refuse()
    pools = {name: host_pools.get(name, pool) for name, pool in model.pools.items()}
    prefix = model.broker.user_prefix
    return {
        "schema": SCHEMA,
        "app": {"name": model.app["name"], "celery_app": model.app["celery_app"]},
        "broker": {
            "nodes": [{"host": node, "port": model.broker.port} for node in model.broker.nodes],
            "vhost": model.broker.vhost,
            "max_message_size": model.broker.max_message_size,
            **login_of("client", prefix),
            "tls": {"ca_file": str(CA_FILE)} if model.broker.tls else None,
            "client_control": model.broker.client_control,
        },
        "pools": {
            name: {
                "exchange": pool.exchange,
                "exchange_type": pool.exchange_type,
                "queue_type": pool.queue_type,
                "queues": {queue.name: {"routing_key": queue.routing_key} for queue in pool.queues.values()},
                "execution": pool.execution,
                "command_prefix": list(pool.command_prefix),
                "acknowledgement": pool.acknowledgement,
                "prefetch_multiplier": pool.prefetch_multiplier,
                "max_tasks_per_child": pool.max_tasks_per_child,
                "time_limit": pool.time_limit,
                "soft_time_limit": pool.soft_time_limit,
                **login_of(worker_user(name), prefix),
            }
            for name, pool in pools.items()
        },
        "routing": dict(model.routing),
        "results": None
        if model.results is None
        else {
            "host": model.results.address,
            "port": model.results.port,
            "tls": {"ca_file": str(CA_FILE)} if model.results.tls else None,
            "worker": login_of(RESULTS_WORKER),
            "client": login_of(RESULTS_CLIENT),
        },
        "verify": {
            "exchange": VERIFY,
            "queue": VERIFY,
            "routing_key": VERIFY_KEY,
            **login_of("verify", prefix),
        },
        "dead_letters": {
            **login_of("dead_letters", prefix),
            "queues": {
                f"{exchange}{DEAD}": [name for name, pool in pools.items() if pool.exchange == exchange]
                for exchange in dict.fromkeys(pool.exchange for pool in pools.values())
            },
        },
    }


def flower_file(raw_model: object) -> dict[str, Any]:
    """Return the fleet file of Flower, which is a user of its own at the broker.

    Args:
        raw_model: The mapping ``fleet_model``.

    Returns:
        The content of ``fleet.json``, with its login.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, _ = read_model(raw_model)
    content = fleet_file(raw_model)
    return {
        **content,
        # It neither stores nor reads any.
        "results": None,
        "broker": {
            **content["broker"],
            **login_of(FLOWER, model.broker.user_prefix),
            "client_control": model.flower.control,
        },
    }


def login_of(user: str, prefix: str = "") -> dict[str, str]:
    """Return a user's name at the server and the file of its password.

    Args:
        user: The kit's own name of it.
        prefix: What the names of the fleet's users begin with there.
    """
    return {"user": f"{prefix}{user}", "password_file": f"{SECRETS}/{user}"}


def worker_reads(fleet: Mapping[str, Any], pool: str) -> dict[str, Any]:
    """Return the part of ``fleet.json`` that a pool's worker reads; if it differs, the worker is replaced.

    The dead letters and the figures of other pools are no part of it, only where their tasks go.

    Args:
        fleet: The file's content.
        pool: The pool.
    """
    address = ("queues", "exchange", "exchange_type", "queue_type")
    return {
        **{name: part for name, part in fleet.items() if name not in ("pools", "dead_letters")},
        "pool": fleet["pools"][pool],
        "addresses": [{name: other[name] for name in address} for other in fleet["pools"].values()],
    }


def worker_digests(fleet: Mapping[str, Any], application: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return for each pool a digest of everything that its worker reads beside its unit.

    Args:
        fleet: The content of ``fleet.json``.
        application: Digests of the application's secrets and files by reader.
    """
    return {pool: digest([worker_reads(fleet, pool), *_of(application, pool)]) for pool in fleet["pools"]}


def scheduler_digest(fleet: Mapping[str, Any], application: Mapping[str, str] | None = None) -> str:
    """Return a digest of what the scheduler reads: where the broker is, the routing, secrets and files.

    Args:
        fleet: The content of ``fleet.json``.
        application: Digests of the application's secrets and files by reader.
    """
    return digest([fleet["broker"], fleet["routing"], *_of(application, SCHEDULER)])


def _of(application: Mapping[str, str] | None, reader: str) -> list[str]:
    own = (application or {}).get(reader)
    return [own] if own else []
