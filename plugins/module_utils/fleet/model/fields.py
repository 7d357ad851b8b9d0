"""Every field that a site may set, with its legal values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .crontab import is_crontab
from .names import KINDS, ROUTING_KEY_BYTES
from .spec import (
    LARGEST,
    Spec,
    is_number,
    list_of,
    map_of,
    number_between,
    one_of,
    table_of,
    text_of,
    whole_number,
)

# One exchange, one queue, one kind: the broker has them once, so a single host cannot differ.
FLEET_WIDE: Final = (
    "kind",
    "exchange",
    "exchange_type",
    "queue_type",
    "queues",
    "overflow",
    "delivery_limit",
    "calls",
)

_flag = Spec("true or false", lambda v: isinstance(v, bool))
_any_text = text_of(r"(?s).+", "a text that is not empty")
_entity = text_of(
    r"(?!amq\.)[A-Za-z0-9_.:-]{1,200}",
    "a name of at most 200 letters, digits, '_', '.', ':' and '-' that does not begin with 'amq.'",
    bad="name/invalid",
)

_routing_key = text_of(
    rf"(?=.{{1,{ROUTING_KEY_BYTES}}}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*",
    f"words of letters, digits, '_' and '-' with dots between them, at most {ROUTING_KEY_BYTES} characters",
    missing="queue/no-routing-key",
    bad="queue/bad-routing-key",
)

_overflow = ("reject-publish", "drop-head")
_environment = Spec(
    "a mapping of variables to texts or numbers",
    lambda v: isinstance(v, dict),
    names=text_of(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable"),
    each=Spec(
        "a text without line breaks, or a number",
        lambda v: is_number(v) or (isinstance(v, str) and not re.search(r"[\x00-\x1f]", v)),
        hidden=True,
    ),
    required=False,
    hidden=True,
)

POOL_NAME = text_of(
    r"[a-z][a-z0-9_]{0,30}",
    "a name of at most 31 lower-case letters, digits and '_' that begins with a letter "
    "(systemd would read '-' as a slice within a slice)",
    bad="pool/bad-name",
)

_QUEUE = {
    "routing_key": _routing_key,
    "max_length": whole_number(1, "tasks", required=False, nullable=True),
    "overflow": one_of(*_overflow, required=False),
}

POOL = {
    "kind": one_of(*KINDS),
    "exchange": _entity,
    "exchange_type": one_of("topic", "direct"),
    "queue_type": one_of("quorum", "classic"),
    "queues": Spec(
        "a mapping of at least one queue",
        lambda v: isinstance(v, dict) and len(v) > 0,
        each=table_of(_QUEUE, missing="queue/no-routing-key"),
        names=_entity,
        missing="pool/no-queues",
        bad="pool/no-queues",
    ),
    "overflow": one_of(*_overflow),
    "delivery_limit": whole_number(1, "deliveries"),
    "execution": one_of("prefork", "threads", "gevent"),
    "acknowledgement": one_of("late", "early"),
    "rollover": one_of("overlap", "wait"),
    "weight": number_between(0, 1_000_000, above=True),
    "concurrency": whole_number(1, nullable=True),
    "min_concurrency": whole_number(1),
    "max_concurrency": whole_number(1, nullable=True),
    "autoscale": table_of(
        {
            "enabled": _flag,
            "min": whole_number(1, nullable=True),
            "max": whole_number(1, nullable=True),
        }
    ),
    "environment": _environment,
    "demand": table_of(
        {"cores": number_between(0, 1_000_000, "cores"), "memory_mib": number_between(0, LARGEST, "MiB")},
    ),
    "prefetch_multiplier": whole_number(1),
    "max_tasks_per_child": whole_number(1, "tasks", missing="limits/missing"),
    "time_limit": whole_number(1, "seconds", missing="limits/missing"),
    "soft_time_limit": whole_number(1, "seconds", missing="limits/missing"),
    "eta_horizon": whole_number(0, "seconds", required=False, nullable=True),
    "calls": Spec(
        "a list of pools, or null for every pool",
        lambda v: isinstance(v, list),
        each=text_of(r"(?s).+", "the name of a pool"),
        required=False,
        nullable=True,
    ),
}

RESERVE = {
    "cores": Spec("a share from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1),
    "memory": Spec("a share from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1),
}

_words = list_of(_any_text, "a list of words", required=False)
_target = text_of(r"(?s).+", "the name of a queue", missing="routing/no-queue")
_RULE = {
    "name": _any_text,
    "words": _words,
    "task": text_of(r"\S+", "a pattern for the names of tasks, such as billing.*", required=False),
    "match": one_of("name", "path", required=False),
    "branches": list_of(
        table_of({"words": list_of(_any_text, "a list of words"), "queue": _target}),
        "a list of branches",
        required=False,
    ),
    "queue": _target,
}

ROUTING = {
    "default_queue": _target,
    "periodic_queue": _target,
    "hints": map_of(_target, "a mapping of hints to queues"),
    "site_rules": list_of(table_of(_RULE), "a list of rules", required=False),
    "rules": list_of(table_of(_RULE), "a list of rules"),
}

_port = whole_number(1, most=65535)
BROKER = {
    "vhost": _any_text,
    "port": _port,
    "management_port": _port,
    "tls": Spec("true or false", lambda v: isinstance(v, bool), required=False),
    "nodes": list_of(
        text_of(r"[^\s/]+", "a host name or address", bad="broker/no-address", missing="broker/no-address"),
        "a list of addresses",
    ),
}

SOURCES = {
    "directory": {"path": _any_text},
    "git": {"url": _any_text, "version": _any_text},
    "package": {"requirement": _any_text},
}

APP = {
    "name": text_of(
        r"[A-Za-z0-9][A-Za-z0-9_-]*", "a name of letters, digits, '-' and '_'", bad="name/invalid"
    ),
    "celery_app": text_of(
        r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?", "a module and an app in it, such as demo.app:app"
    ),
    "source": Spec("a mapping with a type", lambda v: isinstance(v, dict)),
    "requirements": _any_text,
    "python": _any_text,
    "wheelhouse": _flag,
    "keep_releases": whole_number(1),
    "environment": _environment,
}


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool) or is_number(value)


SCHEDULE = {
    "task": text_of(r"\S+", "the full name of a task"),
    "every": number_between(1, LARGEST, "seconds", required=False, nullable=True),
    "crontab": Spec(
        "five fields (minute, hour, day of month, month, day of week 0-6), such as '30 2 * * mon-fri', "
        "of a time that comes",
        is_crontab,
        required=False,
        nullable=True,
    ),
    "args": Spec(
        "a list of texts, numbers, lists and mappings",
        lambda v: isinstance(v, list) and _is_json(v),
        required=False,
        hidden=True,
    ),
    "kwargs": Spec(
        "a mapping of names to texts, numbers, lists and mappings",
        lambda v: isinstance(v, dict) and _is_json(v),
        required=False,
        hidden=True,
    ),
    "queue": text_of(r"(?s).+", "the name of a queue", required=False),
    "expires": whole_number(1, "seconds", required=False, nullable=True),
}

ENTRY_NAME = text_of(
    r"[A-Za-z0-9_.-]{1,100}", "a name of at most 100 letters, digits, '_', '.' and '-'", bad="name/invalid"
)

# What each variable of the model holds. Pools have the same fields on every layer.
SPECS: Final[Mapping[str, Mapping[str, Spec]]] = {
    "fleet_pools": POOL,
    "fleet_reserve": RESERVE,
    "fleet_routing": ROUTING,
    "fleet_broker": BROKER,
    "fleet_app": APP,
}
