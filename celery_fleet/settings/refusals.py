"""What an application may not set: tasks or results would be lost, and no other value means the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Backends that keep results in the broker: RPC, and what it was called before.
IN_THE_BROKER = frozenset({"rpc", "amqp"})

# The serializer of signed messages.
SIGNED = "auth"


def refused(conf: Any) -> dict[str, str]:  # noqa: ANN401 - Celery has no types
    """Find the settings whose values the fleet refuses.

    Args:
        conf: The application's settings, before the fleet's are laid over them.

    Returns:
        The offending value of each, by the setting's name; without passwords.
    """
    offending = {name: offence(getattr(conf, name)) for name, offence in OFFENCES.items()}
    return {name: value for name, value in offending.items() if value is not None}


def _in_the_broker(backend: object) -> str | None:
    """Look at a URL, a name or a class, as the result backend may be given."""
    name = backend if isinstance(backend, str) else getattr(backend, "__name__", "")
    scheme, separator, _ = name.partition("://")
    kind = scheme.partition("+")[0]
    if kind in IN_THE_BROKER or kind.endswith(("RPCBackend", "backends.rpc")):
        return scheme + separator
    return None


def _copied(queues: Any) -> str | None:  # noqa: ANN401 - a list, a mapping, or nothing
    """Look for queues that hand each task to every worker."""
    if isinstance(queues, Mapping):
        named = list(queues.items())
    else:
        named = [(each.alias or each.name, each) for each in queues or ()]
    return ", ".join(name for name, queue in named if _exchange_type(queue) == "fanout") or None


def _exchange_type(queue: Any) -> object:  # noqa: ANN401 - a queue, or its fields
    if isinstance(queue, Mapping):
        return queue.get("exchange_type")
    return getattr(queue.exchange, "type", None)


def _signed(serializer: object) -> str | None:
    return SIGNED if serializer == SIGNED else None


OFFENCES: Mapping[str, Callable[[Any], str | None]] = {
    "result_backend": _in_the_broker,
    "task_queues": _copied,
    "task_serializer": _signed,
}
