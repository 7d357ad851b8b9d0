"""The fleet's model: read from plain data, layer over layer, with every fault found and none raised.

What a site writes (pools, profiles, routing, broker, app) reaches this module as nested mappings of
any origin. It leaves as frozen dataclasses, or as a list of findings that name variable, value, place
and remedy. Units are seconds, MiB and cores unless a name says otherwise.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, TypeAlias, TypedDict, Unpack

from .catalogue import CATALOGUE
from .findings import Findings, line, nearest, show

# Nested built-in types, as `plain` gives them; what is in them is checked where it is read.
Plain: TypeAlias = Any

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
KINDS: Final = ("cpu", "io", "memory", "general")
VERIFY: Final = "fleet_verify"
BEAT: Final = "fleet_beat"
DELAYED: Final = "celery_delayed_"
DEAD: Final = "_dead"

# A delayed message carries 28 bits and their dots in front of its key; AMQP allows 255 bytes in all.
ROUTING_KEY_BYTES: Final = 255 - 2 * 28
LARGEST: Final = 10**9
DEEPEST: Final = 30
WEEK_S: Final = 7 * 24 * 3600

# What fields and variables were called before, and what they are called now.
RENAMED: Final[dict[str, str]] = {}

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


class Unreadable:
    """What stands for data that has no end: legal nowhere, so that it is found where it is looked at."""

    def __init__(self, says: str) -> None:
        self.says = says

    def __repr__(self) -> str:
        return f"({self.says})"


def plain(value: object) -> Plain:
    """Turn data of any origin into built-in types.

    Ansible hands over subclasses of ``str``, ``dict`` and ``list`` that carry tags or template
    themselves when they are read; nothing behind this border has to know of them.

    Args:
        value: Nested mappings, sequences and scalars.

    Returns:
        The same in ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``; anything
        else as it is, to be found wrong where it is looked at. What occurs several times is converted
        once, and what contains itself, or is nested deeper than anything the kit reads, is cut off.
    """
    return _plain(value, {}, set(), 0)


def _plain(value: object, done: dict[int, tuple[object, Plain]], above: set[int], depth: int) -> Plain:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, Mapping | Sequence) or isinstance(value, bytes | bytearray):
        return value
    here = id(value)
    if here in done:
        return done[here][1]
    if here in above:
        return Unreadable("contains itself")
    if depth == DEEPEST:
        return Unreadable(f"nested more than {DEEPEST} deep")
    above.add(here)
    found: Plain
    if isinstance(value, Mapping):
        found = {
            key if isinstance(key, str) else show(key): _plain(item, done, above, depth + 1)
            for key, item in ((_plain(key, done, above, depth + 1), item) for key, item in value.items())
        }
    else:
        found = [_plain(item, done, above, depth + 1) for item in value]
    above.remove(here)
    # The value is kept, so that its identity is not given to another one meanwhile.
    done[here] = (value, found)
    return found


def texts(value: object) -> list[str]:
    """Give the texts of a list, such as the names of hosts or groups; anything else is left out."""
    items = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else ()
    return [str.__str__(item) for item in items if isinstance(item, str)]


def exact(value: float | int | Fraction) -> Fraction:
    """Take a number by its decimal digits, so that 3 / 0.06 is 50 and not a little less."""
    return value if isinstance(value, Fraction) else Fraction(str(value))


# What each field may hold ------------------------------------------------------------------------

_INVALID: Final = object()


@dataclass(frozen=True)
class Spec:
    """What a value may be.

    Attributes:
        says: A legal value in words.
        test: Whether a value is legal, apart from what it contains.
        fields: Of a mapping with known keys, what each may hold.
        each: What every value of a mapping, or item of a list, may be.
        names: What every key of a mapping may be.
        required: Whether it must be given.
        nullable: Whether it may be null.
        missing: Id of the finding if it is not given.
        bad: Id of the finding if it is not legal.
        hidden: Whether a finding must not show the value, because it may be a secret.
    """

    says: str
    test: Callable[[Any], bool]
    fields: Mapping[str, Spec] | None = None
    each: Spec | None = None
    names: Spec | None = None
    required: bool = True
    nullable: bool = False
    missing: str = "model/missing-key"
    bad: str = "model/bad-value"
    hidden: bool = False


class _More(TypedDict, total=False):
    """The fields of a spec that its makers hand on."""

    required: bool
    nullable: bool
    missing: str
    bad: str


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST**2


def _whole(least: int, unit: str = "", most: int = LARGEST, **more: Unpack[_More]) -> Spec:
    says = f"a whole number from {least} to {most}{unit and ' (' + unit + ')'}"
    return Spec(says, lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most, **more)


def _number(least: float, most: float, unit: str = "", *, above: bool = False, **more: Unpack[_More]) -> Spec:
    lower = "above" if above else "of at least"
    says = f"a number {lower} {least:g}{unit and ' (' + unit + ')'}, at most {most:g}"
    return Spec(says, lambda v: _is_number(v) and (v > least if above else v >= least) and v <= most, **more)


def _one_of(*names: str, **more: Unpack[_More]) -> Spec:
    return Spec("one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names, **more)


def _text(pattern: str, says: str, **more: Unpack[_More]) -> Spec:
    return Spec(says, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None, **more)


def _table(fields: Mapping[str, Spec], **more: Unpack[_More]) -> Spec:
    return Spec("a mapping of " + ", ".join(fields), lambda v: isinstance(v, dict), fields=fields, **more)


def _map(each: Spec, says: str) -> Spec:
    return Spec(says, lambda v: isinstance(v, dict), each=each)


def _list(each: Spec, says: str, *, required: bool = True) -> Spec:
    return Spec(says, lambda v: isinstance(v, list), each=each, required=required)


_flag = Spec("true or false", lambda v: isinstance(v, bool))
_any_text = _text(r"(?s).+", "a text that is not empty")
_entity = _text(
    r"(?!amq\.)[A-Za-z0-9_.:-]{1,200}",
    "a name of at most 200 letters, digits, '_', '.', ':' and '-' that does not begin with 'amq.'",
    bad="name/invalid",
)
_routing_key = _text(
    rf"(?=.{{1,{ROUTING_KEY_BYTES}}}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*",
    f"words of letters, digits, '_' and '-' with dots between them, at most {ROUTING_KEY_BYTES} characters",
    missing="queue/no-routing-key",
    bad="queue/bad-routing-key",
)
_overflow = ("reject-publish", "drop-head")
_environment = Spec(
    "a mapping of variables to texts or numbers",
    lambda v: isinstance(v, dict),
    names=_text(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable"),
    each=Spec(
        "a text without line breaks, or a number",
        lambda v: _is_number(v) or (isinstance(v, str) and not re.search(r"[\x00-\x1f]", v)),
        hidden=True,
    ),
    required=False,
    hidden=True,
)
_pool_name = _text(
    r"[a-z][a-z0-9_]{0,30}",
    "a name of at most 31 lower-case letters, digits and '_' that begins with a letter "
    "(systemd would read '-' as a slice within a slice)",
    bad="pool/bad-name",
)

_QUEUE = {
    "routing_key": _routing_key,
    "max_length": _whole(1, "tasks", required=False, nullable=True),
    "overflow": _one_of(*_overflow, required=False),
}
_POOL = {
    "kind": _one_of(*KINDS),
    "exchange": _entity,
    "exchange_type": _one_of("topic", "direct"),
    "queue_type": _one_of("quorum", "classic"),
    "queues": Spec(
        "a mapping of at least one queue",
        lambda v: isinstance(v, dict) and len(v) > 0,
        each=_table(_QUEUE, missing="queue/no-routing-key"),
        names=_entity,
        missing="pool/no-queues",
        bad="pool/no-queues",
    ),
    "overflow": _one_of(*_overflow),
    "delivery_limit": _whole(1, "deliveries"),
    "execution": _one_of("prefork", "threads", "gevent"),
    "acknowledgement": _one_of("late", "early"),
    "rollover": _one_of("overlap", "wait"),
    "weight": _number(0, 1_000_000, above=True),
    "concurrency": _whole(1, nullable=True),
    "min_concurrency": _whole(1),
    "max_concurrency": _whole(1, nullable=True),
    "autoscale": _table(
        {
            "enabled": _flag,
            "min": _whole(1, nullable=True),
            "max": _whole(1, nullable=True),
        }
    ),
    "environment": _environment,
    "demand": _table(
        {"cores": _number(0, 1_000_000, "cores"), "memory_mib": _number(0, LARGEST, "MiB")},
    ),
    "prefetch_multiplier": _whole(1),
    "max_tasks_per_child": _whole(1, "tasks", missing="limits/missing"),
    "time_limit": _whole(1, "seconds", missing="limits/missing"),
    "soft_time_limit": _whole(1, "seconds", missing="limits/missing"),
    "eta_horizon": _whole(0, "seconds", required=False, nullable=True),
    "calls": Spec(
        "a list of pools, or null for every pool",
        lambda v: isinstance(v, list),
        each=_text(r"(?s).+", "the name of a pool"),
        required=False,
        nullable=True,
    ),
}
_RESERVE = {
    "cores": Spec("a share from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1),
    "memory": Spec("a share from 0 to below 1", lambda v: _is_number(v) and 0 <= v < 1),
}
_words = _list(_any_text, "a list of words", required=False)
_target = _text(r"(?s).+", "the name of a queue", missing="routing/no-queue")
_RULE = {
    "name": _any_text,
    "words": _words,
    "task": _text(r"\S+", "a pattern for the names of tasks, such as billing.*", required=False),
    "match": _one_of("name", "path", required=False),
    "branches": _list(
        _table({"words": _list(_any_text, "a list of words"), "queue": _target}),
        "a list of branches",
        required=False,
    ),
    "queue": _target,
}
_ROUTING = {
    "default_queue": _target,
    "periodic_queue": _target,
    "hints": _map(_target, "a mapping of hints to queues"),
    "site_rules": _list(_table(_RULE), "a list of rules", required=False),
    "rules": _list(_table(_RULE), "a list of rules"),
}
_port = _whole(1, most=65535)
_BROKER = {
    "vhost": _any_text,
    "port": _port,
    "management_port": _port,
    "tls": Spec("true or false", lambda v: isinstance(v, bool), required=False),
    "nodes": _list(
        _text(r"[^\s/]+", "a host name or address", bad="broker/no-address", missing="broker/no-address"),
        "a list of addresses",
    ),
}
SOURCES = {
    "directory": {"path": _any_text},
    "git": {"url": _any_text, "version": _any_text},
    "package": {"requirement": _any_text},
}
_APP = {
    "name": _text(r"[A-Za-z0-9][A-Za-z0-9_-]*", "a name of letters, digits, '-' and '_'", bad="name/invalid"),
    "celery_app": _text(
        r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?", "a module and an app in it, such as demo.app:app"
    ),
    "source": Spec("a mapping with a type", lambda v: isinstance(v, dict)),
    "requirements": _any_text,
    "python": _any_text,
    "wheelhouse": _flag,
    "keep_releases": _whole(1),
    "environment": _environment,
}

_CRONTAB: Final = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def _times(field: str, least: int, most: int, names: Sequence[str]) -> set[int]:
    """Give the numbers that a field of a crontab stands for; none if it is not legal."""
    number = rf"\d{{1,2}}|{'|'.join(names)}" if names else r"\d{1,2}"
    found: set[int] = set()
    for part in field.lower().split(","):
        read = re.fullmatch(rf"(?:(\*)|({number})(?:-({number}))?)(?:/(\d{{1,2}}))?", part)
        if read is None:
            return set()
        first, last = (
            names.index(end) + least if end in names else int(end) if end else None
            for end in read.group(2, 3)
        )
        step = int(read[4] or 1)
        if step < 1 or (read[4] and last is None and not read[1]):
            return set()
        start, end = (least, most) if first is None else (first, first if last is None else last)
        if not least <= start <= end <= most:
            return set()
        found.update(range(start, end + 1, step))
    return found


def _is_crontab(value: object) -> bool:
    fields = value.split() if isinstance(value, str) else []
    if len(fields) != len(_CRONTAB):
        return False
    times = [_times(field, *bounds) for field, bounds in zip(fields, _CRONTAB, strict=True)]
    # A day that no month has would never come, and Celery would look for it for ever.
    longest = max(
        (29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in times[3]), default=0
    )
    return all(times) and min(times[2]) <= longest


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool) or _is_number(value)


_SCHEDULE = {
    "task": _text(r"\S+", "the full name of a task"),
    "every": _number(1, LARGEST, "seconds", required=False, nullable=True),
    "crontab": Spec(
        "five fields (minute, hour, day of month, month, day of week 0-6), such as '30 2 * * mon-fri', "
        "of a time that comes",
        _is_crontab,
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
    "queue": _text(r"(?s).+", "the name of a queue", required=False),
    "expires": _whole(1, "seconds", required=False, nullable=True),
}
_entry_name = _text(
    r"[A-Za-z0-9_.-]{1,100}", "a name of at most 100 letters, digits, '_', '.' and '-'", bad="name/invalid"
)

# What each variable of the model holds. Pools have the same fields on every layer.
SPECS: Final[Mapping[str, Mapping[str, Spec]]] = {
    "fleet_pools": _POOL,
    "fleet_reserve": _RESERVE,
    "fleet_routing": _ROUTING,
    "fleet_broker": _BROKER,
    "fleet_app": _APP,
}


# The model that has passed -----------------------------------------------------------------------


@dataclass(frozen=True)
class Demand:
    """What one running task needs of its host, in cores and MiB."""

    cores: Fraction
    memory_mib: Fraction


@dataclass(frozen=True)
class Autoscale:
    """The range of worker processes of a pool that grows and shrinks."""

    enabled: bool
    min: int | None
    max: int | None


@dataclass(frozen=True)
class Queue:
    """One queue of a pool; ``max_length`` counts tasks, none means no limit."""

    name: str
    routing_key: str
    max_length: int | None
    overflow: str


@dataclass(frozen=True)
class Pool:
    """A pool with all its effective fields, for the fleet or for one host.

    Attributes are the fields of ``fleet_pools``; ``origins`` says which layer gave each of them.
    """

    name: str
    kind: str
    exchange: str
    exchange_type: str
    queue_type: str
    queues: Mapping[str, Queue]
    overflow: str
    delivery_limit: int
    execution: str
    acknowledgement: str
    rollover: str
    weight: Fraction
    concurrency: int | None
    min_concurrency: int
    max_concurrency: int | None
    autoscale: Autoscale
    environment: Mapping[str, str]
    demand: Demand
    prefetch_multiplier: int
    max_tasks_per_child: int
    time_limit: int
    soft_time_limit: int
    eta_horizon: int | None = None
    calls: Sequence[str] | None = None
    origins: Origins = field(default_factory=dict, compare=False, repr=False)

    def variable(self, *path: str) -> str:
        """Name the variable that gave a field, such as ``fleet_host_pools.io.concurrency``."""
        return _variable(self.origins, f"fleet_pools.{self.name}", path)


@dataclass(frozen=True)
class Reserve:
    """Shares of every host that no pool plans with, from 0 to below 1."""

    cores: Fraction
    memory: Fraction


@dataclass(frozen=True)
class Broker:
    """The broker as its clients see it."""

    vhost: str
    port: int
    management_port: int
    nodes: Sequence[str]
    tls: bool = False


@dataclass(frozen=True)
class Model:
    """A whole fleet. Fields at fault are left out or at their defaults; see the findings beside it."""

    layers: Mapping[str, Mapping[str, Any]]
    pools: Mapping[str, Pool]
    profiles: Mapping[str, Mapping[str, Mapping[str, Any]]]
    reserve: Reserve
    routing: Mapping[str, Any]
    broker: Broker
    app: Mapping[str, Any]
    schedule: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


Origins = Mapping[tuple[str, ...], str]
_Layer = tuple[str, Mapping[str, Any]]


# Layers ------------------------------------------------------------------------------------------


def merge(layers: Iterable[_Layer]) -> tuple[dict[str, Any], Origins]:
    """Lay mappings over each other, deeply; anything but a mapping is replaced.

    Args:
        layers: Pairs of the variable's name and its value, lowest first.

    Returns:
        The merged mapping, and for each path in it the variable that set it.
    """
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for variable, layer in layers:
        _overlay(merged, layer, variable, (), origins)
    return merged, origins


def _overlay(
    below: dict[str, Any],
    layer: Mapping[str, Any],
    variable: str,
    path: tuple[str, ...],
    origins: dict[tuple[str, ...], str],
) -> None:
    for key, value in layer.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _overlay(below[key], value, variable, here, origins)
        else:
            below[key] = copy.deepcopy(value) if isinstance(value, Mapping) else value
            origins[here] = variable


def _origin(origins: Origins, path: Sequence[str]) -> str | None:
    layers = (origins.get(tuple(path[:length])) for length in range(len(path), 0, -1))
    return next((layer for layer in layers if layer), None)


def _variable(origins: Origins, default: str, path: Sequence[str]) -> str:
    return ".".join((_origin(origins, path) or default, *path))


# Reading -----------------------------------------------------------------------------------------

_Say = Callable[[str, tuple[str, ...], object, str, str], None]


def _clean(value: Plain, spec: Spec, path: tuple[str, ...], say: _Say) -> Plain:
    """Give the legal part of a value, and say what is wrong with the rest."""
    if value is None and spec.nullable:
        return None
    if value is None:
        say(spec.missing, path, value, "is not given", f"give {spec.says}")
        return _INVALID
    if not spec.test(value):
        shown = "(not shown)" if spec.hidden else value
        say(spec.bad, path, shown, f"is not {spec.says}", f"give {spec.says}")
        return _INVALID
    if spec.fields is not None:
        return _clean_fields(value, spec.fields, path, say)
    if spec.each is None:
        return value
    if isinstance(value, list):
        items = [_clean(item, spec.each, (*path, str(at)), say) for at, item in enumerate(value)]
        return [item for item in items if item is not _INVALID]
    names = [key for key in value if spec.names is None or _clean(key, spec.names, (*path, key), say) == key]
    found = {key: _clean(value[key], spec.each, (*path, key), say) for key in names}
    return {key: item for key, item in found.items() if item is not _INVALID}


def _clean_fields(
    value: Plain, fields: Mapping[str, Spec], path: tuple[str, ...], say: _Say
) -> dict[str, Any]:
    for key in value:
        if key in RENAMED:
            new = RENAMED[key]
            say("model/renamed-key", (*path, key), value[key], f"it is now called {new}", f"write {new}")
        elif key not in fields:
            known = nearest(key, fields)
            remedy = "remove it, or use one of: " + ", ".join(fields)
            say("model/unknown-key", (*path, key), value[key], f"is no known field{known}", remedy)
    cleaned = {}
    for key, spec in fields.items():
        if key not in value and not spec.required:
            continue
        item = _clean(value.get(key), spec, (*path, key), say)
        if item is not _INVALID:
            cleaned[key] = item
    return cleaned


def _sayer(findings: Findings, root: str) -> _Say:
    def say(id: str, path: tuple[str, ...], value: object, reason: str, remedy: str) -> None:
        findings.add(id, ".".join((root, *path)), value, reason, remedy)

    return say


@dataclass(frozen=True)
class _Rule:
    """A relation between the fields of one pool that must not hold.

    Of the fields in ``at`` the one is named that the highest layer set, the first of them in doubt.
    """

    id: str
    at: tuple[str, ...]
    broken: Callable[[Mapping[str, Any]], bool]


# A rule is looked at only when every field that it reads is legal by itself (KeyError otherwise).
_POOL_RULES: Final = (
    _Rule(
        "limits/soft-not-below-hard",
        ("soft_time_limit", "time_limit"),
        lambda p: p["soft_time_limit"] >= p["time_limit"],
    ),
    _Rule("limits/not-enforced", ("execution",), lambda p: p["execution"] != "prefork"),
    _Rule("limits/as-good-as-none", ("time_limit",), lambda p: p["time_limit"] > WEEK_S),
    _Rule(
        "mistake/high-prefetch",
        ("prefetch_multiplier",),
        lambda p: p["kind"] in ("cpu", "memory") and p["prefetch_multiplier"] > 1,
    ),
    _Rule(
        "autoscale/not-prefork",
        ("autoscale.enabled", "execution"),
        lambda p: p["autoscale"]["enabled"] and p["execution"] != "prefork",
    ),
    _Rule(
        "autoscale/no-range",
        ("autoscale.enabled", "autoscale.min", "autoscale.max"),
        lambda p: p["autoscale"]["enabled"] and None in (p["autoscale"]["min"], p["autoscale"]["max"]),
    ),
    _Rule(
        "autoscale/empty-range",
        ("autoscale.min", "autoscale.max"),
        lambda p: (p["autoscale"]["min"] or 1) > (p["autoscale"]["max"] or LARGEST),
    ),
    _Rule(
        "autoscale/with-concurrency",
        ("concurrency", "autoscale.enabled"),
        lambda p: p["autoscale"]["enabled"] and p["concurrency"] is not None,
    ),
    _Rule(
        "sizing/empty-range",
        ("min_concurrency", "max_concurrency"),
        lambda p: p["min_concurrency"] > (p["max_concurrency"] or LARGEST),
    ),
    _Rule(
        "sizing/outside-range",
        ("concurrency", "min_concurrency", "max_concurrency"),
        lambda p: (
            p["concurrency"] is not None
            and not p["min_concurrency"] <= p["concurrency"] <= (p["max_concurrency"] or LARGEST)
        ),
    ),
    _Rule(
        "sizing/unbounded",
        ("demand",),
        lambda p: not (p["demand"]["cores"] or p["demand"]["memory_mib"] or p["max_concurrency"]),
    ),
    _Rule(
        "queue/drops-oldest",
        ("overflow",),
        lambda p: "drop-head" in {p["overflow"], *(q.get("overflow") for q in p["queues"].values())},
    ),
)


def _read_pool(
    name: str, layers: Sequence[_Layer], findings: Findings, host: str | None = None
) -> Pool | None:
    """Merge the layers of a pool and check the outcome; none if it cannot be built."""
    merged, origins = merge(layers)
    root = next((variable for variable, layer in layers[1:] if layer), f"fleet_pools.{name}")
    faults = 0

    def say(
        id: str,
        path: tuple[str, ...],
        value: object,
        reason: str | None = None,
        remedy: str | None = None,
    ) -> None:
        nonlocal faults
        faults += CATALOGUE[id].structural
        variable = _variable(origins, root, path)
        where = host if variable.startswith("fleet_host_pools") else None
        findings.add(id, variable, value, reason, remedy, where=where)

    values = _clean_fields(merged, _POOL, (), say)
    order = [variable for variable, _ in layers]
    for rule in _POOL_RULES:
        try:
            if not rule.broken(values):
                continue
            held = {at: _at(values, at.split(".")) for at in rule.at}
        except KeyError:
            continue
        named = max(held, key=lambda at: order.index(_origin(origins, at.split(".")) or order[0]))
        say(rule.id, tuple(named.split(".")), held[named])
    return None if faults else _build(name, values, origins)


def _at(values: Plain, path: Iterable[str]) -> Plain:
    for key in path:
        values = values[key]
    return values


def _build(name: str, values: Mapping[str, Any], origins: Origins) -> Pool:
    built = {
        "name": name,
        "origins": origins,
        "queues": {
            queue: Queue(queue, q["routing_key"], q.get("max_length"), q.get("overflow", values["overflow"]))
            for queue, q in values["queues"].items()
        },
        "weight": exact(values["weight"]),
        "demand": Demand(**{key: exact(value) for key, value in values["demand"].items()}),
        "autoscale": Autoscale(**values["autoscale"]),
        "environment": {key: str(value) for key, value in values.get("environment", {}).items()},
    }
    return Pool(**{**values, **built})


def read_model(raw: object) -> tuple[Model, Findings]:
    """Read a whole fleet from plain data.

    Args:
        raw: The mapping ``fleet_model`` of the inventory, of any mapping and string types.

    Returns:
        The model, without what is at fault, and everything that was found.
    """
    findings = Findings()
    data = plain(raw)
    parts = (
        "pool_defaults",
        "pools",
        "environment_pools",
        "profiles",
        "reserve",
        "routing",
        "broker",
        "app",
        "schedule",
    )
    mapping = Spec("a mapping", lambda v: isinstance(v, dict))
    if not isinstance(data, dict):
        findings.add("model/bad-value", "fleet_model", data, "is not a mapping", "give a mapping")
        data = {}
    for key in data.keys() - {*parts, "accepted"}:
        reason = f"is no part of the model{nearest(key, parts)}"
        findings.add("model/unknown-key", f"fleet_model.{key}", data[key], reason, "remove it")
    part: dict[str, dict[str, Any]] = {}
    findings.accept(_read_accepted(data.get("accepted"), findings))
    for name in parts:
        variable = f"fleet_{name}"
        value = data.get(name, {} if name in ("environment_pools", "schedule") else None)
        found = _clean(value, mapping, (), _sayer(findings, variable))
        part[name] = found if isinstance(found, dict) else {}

    layers = _fleet_pools(part["pools"], part["environment_pools"], findings)
    layers["fleet_pool_defaults"] = part["pool_defaults"]
    if not layers["fleet_pools"]:
        findings.add(
            "pool/none", "fleet_pools", part["pools"], "there is no pool", "define at least one pool"
        )
    pools = {name: _read_pool(name, _fleet_layers(layers, name), findings) for name in layers["fleet_pools"]}
    claims = {name: merge(_fleet_layers(layers, name)) for name in layers["fleet_pools"]}
    _check_claims(claims, findings)
    _check_one_concurrency(claims, findings)
    _check_calls(claims, findings)

    profiles = _read_profiles(part["profiles"], layers["fleet_pools"], findings)
    reserve = _clean_fields(part["reserve"], _RESERVE, (), _sayer(findings, "fleet_reserve"))
    routing = _clean_fields(part["routing"], _ROUTING, (), _sayer(findings, "fleet_routing"))
    _check_routing(routing, claims, findings)
    broker = _clean_fields(part["broker"], _BROKER, (), _sayer(findings, "fleet_broker"))
    app = _read_app(part["app"], findings)
    schedule = _read_schedule(part["schedule"], _claims(claims), findings)
    model = Model(
        layers=layers,
        pools={name: pool for name, pool in pools.items() if pool},
        profiles=profiles,
        reserve=Reserve(exact(reserve.get("cores", 0)), exact(reserve.get("memory", 0))),
        routing=routing,
        broker=Broker(
            broker.get("vhost", "/"),
            broker.get("port", 5672),
            broker.get("management_port", 15672),
            broker.get("nodes", []),
            broker.get("tls", False),
        ),
        app=app,
        schedule=schedule,
    )
    for profile in profiles:
        effective_pools(model, f"profile {profile}", [profile], {}, findings)
    return model, findings


def _read_accepted(raw: Plain, findings: Findings) -> dict[str, str]:
    """Give the reasons of a site for what it accepts, without those that cannot be."""
    variable = "fleet_accepted_findings"
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        findings.add("model/bad-value", variable, raw, "is not a mapping of findings to reasons")
        return {}
    accepted = {}
    for key, reason in raw.items():
        here, id = f"{variable}.{key}", key.partition("@")[0]
        if id not in CATALOGUE:
            findings.add("accept/unknown", here, key, f"there is no such finding{nearest(id, CATALOGUE)}")
        elif CATALOGUE[id].structural:
            findings.add("accept/impossible", here, key)
        elif not isinstance(reason, str) or not reason.strip():
            findings.add("accept/no-reason", here, reason)
        else:
            accepted[key] = line(reason.strip())
    return accepted


def effective_pools(
    model: Model, host: str, groups: object, host_pools: object, findings: Findings
) -> dict[str, Pool]:
    """Give the pools that a host runs, each with its effective fields.

    Args:
        model: The fleet.
        host: The host's inventory name, for messages.
        groups: The groups that the host is in.
        host_pools: What the host changes or adds (``fleet_host_pools``).
        findings: Receives what is wrong.

    Returns:
        Pools by name, in the order of the model; those at fault are left out.
    """
    member = set(texts(groups))
    mine = [name for name in model.profiles if name in member]
    own = plain(host_pools)
    known = model.layers["fleet_pools"]
    if own is None:
        own = {}
    if not isinstance(own, dict):
        findings.add(
            "model/bad-value", "fleet_host_pools", own, "is not a mapping", "map pools to fields", where=host
        )
        own = {}
    own = _named_pools(own, "fleet_host_pools", findings, known, host)
    pools = {}
    for name in known:
        layers = [
            (f"fleet_profiles.{profile}.pools.{name}", model.profiles[profile][name])
            for profile in mine
            if name in model.profiles[profile]
        ]
        if name in own:
            layers.append((f"fleet_host_pools.{name}", own[name]))
        for variable, layer in layers:
            for field_name in FLEET_WIDE:
                if field_name in layer:
                    findings.add(
                        "model/fleet-wide-field",
                        f"{variable}.{field_name}",
                        layer[field_name],
                        "the broker has it once for the whole fleet, so no profile or host can differ",
                        "set it in fleet_pools or fleet_environment_pools",
                        where=host if variable.startswith("fleet_host_pools") else None,
                    )
        if layers:
            narrow = [(v, {k: x for k, x in layer.items() if k not in FLEET_WIDE}) for v, layer in layers]
            pool = _read_pool(name, [*_fleet_layers(model.layers, name), *narrow], findings, host)
            if pool:
                pools[name] = pool
    return pools


def _fleet_pools(
    pools: Mapping[str, Any], environment: Mapping[str, Any], findings: Findings
) -> dict[str, dict[str, dict[str, Any]]]:
    """Give what the model and the environment say of pools; one with queues of its own is a new pool."""
    added = {
        name: fields
        for name, fields in environment.items()
        if name not in pools and isinstance(fields, dict) and "queues" in fields
    }
    variable = "fleet_environment_pools"
    new = _named_pools(added, variable, findings)
    changed = {name: fields for name, fields in environment.items() if name not in added}
    return {
        "fleet_pools": {**_named_pools(pools, "fleet_pools", findings), **{name: {} for name in new}},
        variable: {**_named_pools(changed, variable, findings, pools), **new},
    }


def _fleet_layers(layers: Mapping[str, Mapping[str, Any]], name: str) -> list[_Layer]:
    return [
        ("fleet_pool_defaults", layers["fleet_pool_defaults"]),
        (f"fleet_pools.{name}", layers["fleet_pools"].get(name, {})),
        (f"fleet_environment_pools.{name}", layers["fleet_environment_pools"].get(name, {})),
    ]


def _named_pools(
    pools: Mapping[str, Any],
    variable: str,
    findings: Findings,
    known: Mapping[str, Any] | None = None,
    host: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Give those entries that name a pool and hold a mapping of fields."""
    found: dict[str, dict[str, Any]] = {}
    for name, fields in pools.items():
        here = f"{variable}.{name}"
        if known is None and not _pool_name.test(name):
            findings.add(_pool_name.bad, here, name, f"is not {_pool_name.says}", "rename the pool")
        elif known is not None and name not in known:
            _unknown_pool(findings, here, name, known, host)
        elif fields is None:
            found[name] = {}
        elif not isinstance(fields, dict):
            findings.add(
                "model/bad-value",
                here,
                fields,
                "is not a mapping of fields",
                "map fields to values",
                where=host,
            )
        else:
            found[name] = fields
    return found


def _unknown_pool(
    findings: Findings, variable: str, name: str, known: Iterable[str], host: str | None = None
) -> None:
    layer = {"fleet_profiles": "profile", "fleet_host_pools": "host"}.get(
        variable.split(".")[0], "environment"
    )
    findings.add(
        f"{layer}/unknown-pool",
        variable,
        name,
        f"there is no such pool{nearest(name, known)}",
        "name one of: "
        + (", ".join(known) or "(no pool is defined)")
        + ("; one that also gives its queues is a new pool" if layer == "environment" else ""),
        where=host,
    )


def _read_profiles(
    raw: Mapping[str, Any], known: Mapping[str, Any], findings: Findings
) -> dict[str, dict[str, dict[str, Any]]]:
    profiles = {}
    spec = _table({"pools": _map(Spec("fields", lambda v: True, nullable=True), "a mapping of pools")})
    for name, profile in raw.items():
        variable = f"fleet_profiles.{name}"
        found = _clean(profile, spec, (), _sayer(findings, variable))
        pools = found.get("pools", {}) if isinstance(found, dict) else {}
        profiles[name] = _named_pools(pools, f"{variable}.pools", findings, known)
    return profiles


def _read_app(raw: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    app = _clean_fields(raw, _APP, (), _sayer(findings, "fleet_app"))
    source = app.get("source", {"type": None})
    kind = source.get("type")
    if isinstance(kind, str) and kind in SOURCES:
        spec = {"type": _one_of(kind), **SOURCES[kind]}
        app["source"] = _clean_fields(source, spec, (), _sayer(findings, "fleet_app.source"))
    elif "source" in app:
        known = ", ".join(SOURCES)
        findings.add(
            "model/bad-value", "fleet_app.source.type", kind, f"is not one of {known}", f"use one of {known}"
        )
    return app


def _read_schedule(
    raw: Mapping[str, Any], claims: Iterable[_Claim], findings: Findings
) -> dict[str, dict[str, Any]]:
    """Give the entries of the schedule, and say which can't be sent."""
    known = {claim.queue for claim in claims}
    entry = Spec(
        "a mapping of " + ", ".join(_SCHEDULE), lambda v: isinstance(v, dict), fields=_SCHEDULE, hidden=True
    )
    root = Spec("a mapping of entries", lambda v: isinstance(v, dict), each=entry, names=_entry_name)
    found: dict[str, dict[str, Any]] = _clean(raw, root, (), _sayer(findings, "fleet_schedule"))
    for name, fields in found.items():
        here = f"fleet_schedule.{name}"
        given = [key for key in ("every", "crontab") if raw[name].get(key) is not None]
        if len(given) != 1:
            findings.add(
                "schedule/when", here, ", ".join(given) or None, f"it has {' and '.join(given) or 'neither'}"
            )
        queue = fields.get("queue")
        if queue is not None and queue not in known:
            findings.add(
                "routing/unknown-queue",
                f"{here}.queue",
                queue,
                f"no pool has this queue{nearest(queue, known)}",
                "name one of: " + (", ".join(sorted(known)) or "(no queue is defined)") + "; or none",
            )
    return found


# What must hold between pools --------------------------------------------------------------------


@dataclass(frozen=True)
class _Claim:
    """One queue as a pool claims it, read from data that may be at fault elsewhere."""

    pool: str
    kind: object
    queue: str
    exchange: str
    exchange_type: object
    key: str
    origins: Origins

    @property
    def variable(self) -> str:
        return _variable(self.origins, f"fleet_pools.{self.pool}", ("queues", self.queue))


def _claims(pools: Mapping[str, tuple[dict[str, Any], Origins]]) -> list[_Claim]:
    found = []
    for name, (fields, origins) in pools.items():
        queues = fields.get("queues")
        for queue, q in queues.items() if isinstance(queues, dict) else ():
            key = q.get("routing_key") if isinstance(q, dict) else None
            exchange = fields.get("exchange")
            found.append(
                _Claim(
                    name,
                    fields.get("kind"),
                    queue,
                    exchange if isinstance(exchange, str) else "",
                    fields.get("exchange_type"),
                    key if isinstance(key, str) else "",
                    origins,
                )
            )
    return found


def _check_claims(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
    """Find what two pools cannot both have."""
    claims = _claims(pools)
    exchanges = {claim.exchange for claim in claims}
    owner: dict[str, _Claim] = {}
    types: dict[str, _Claim] = {}
    for claim in claims:
        _check_reserved(claim, exchanges, findings)
        _check_beat_key(claim, findings)
        first = owner.setdefault(claim.queue, claim)
        if first.pool != claim.pool:
            findings.add(
                "queue/two-owners",
                claim.variable,
                claim.queue,
                f"pool {first.pool} claims this queue too, so either could take a task of the other",
                f"give one of the pools {first.pool} and {claim.pool} a queue of its own",
            )
            if first.kind != claim.kind:
                findings.add(
                    "mistake/mixed-kinds",
                    claim.variable,
                    claim.queue,
                    f"it would carry tasks of kind {show(first.kind)} and of kind {show(claim.kind)}",
                    "keep each queue to one kind of task, so that slow ones never block quick ones",
                )
        typed = types.setdefault(claim.exchange, claim)
        if claim.exchange and typed.exchange_type != claim.exchange_type:
            findings.add(
                "exchange/two-types",
                _variable(claim.origins, f"fleet_pools.{claim.pool}", ("exchange_type",)),
                claim.exchange_type,
                f"pool {typed.pool} uses exchange {claim.exchange} as {show(typed.exchange_type)}",
                "give both pools the same exchange_type, or exchanges of their own",
            )
    for at, claim in enumerate(claims):
        for other in claims[:at]:
            _check_keys(other, claim, findings)


def _check_one_concurrency(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
    """Find one stated concurrency for pools that need different ones."""
    stated = [
        (name, fields.get("concurrency"), fields.get("kind"), origins)
        for name, (fields, origins) in pools.items()
    ]
    figures = {show(figure) for _, figure, _, _ in stated}
    kinds = {show(kind) for _, _, kind, _ in stated}
    if len(stated) < 2 or len(figures) > 1 or len(kinds) < 2 or stated[0][1] is None:
        return
    name, figure, _, origins = stated[0]
    findings.add(
        "mistake/one-concurrency",
        _variable(origins, f"fleet_pools.{name}", ("concurrency",)),
        figure,
        f"the pools {', '.join(pools)} of the kinds {', '.join(sorted(kinds))} all have this one figure",
    )


def _check_calls(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
    """Find calls to pools that do not exist."""
    for name, (fields, origins) in pools.items():
        for called in texts(fields.get("calls")):
            if called not in pools:
                findings.add(
                    "pool/unknown-call",
                    _variable(origins, f"fleet_pools.{name}", ("calls",)),
                    called,
                    f"there is no such pool{nearest(called, pools)}",
                    "name one of: " + ", ".join(pools),
                )


def _check_reserved(claim: _Claim, exchanges: set[str], findings: Findings) -> None:
    base = f"fleet_pools.{claim.pool}"
    named = ((claim.queue, claim.variable), (claim.exchange, _variable(claim.origins, base, ("exchange",))))
    for name, variable in named:
        dead = name.endswith(DEAD) and name.removesuffix(DEAD) in exchanges
        if name in (VERIFY, BEAT) or name.startswith(DELAYED) or dead:
            findings.add(
                "name/reserved",
                variable,
                name,
                "the kit has a queue or an exchange of this name itself",
                f"choose a name other than {VERIFY}, {BEAT}, {DELAYED}* and <exchange>{DEAD}",
            )


def _check_beat_key(claim: _Claim, findings: Findings) -> None:
    if claim.key == BEAT:
        findings.add(
            "name/reserved",
            f"{claim.variable}.routing_key",
            claim.key,
            "what the scheduler notes goes by this key",
            f"choose a key other than {BEAT}",
        )


def _check_keys(first: _Claim, second: _Claim, findings: Findings) -> None:
    if not first.key or not second.key or first.queue == second.queue:
        return
    if first.exchange == second.exchange and first.key == second.key:
        findings.add(
            "exchange/binding-clash",
            f"{second.variable}.routing_key",
            second.key,
            f"exchange {first.exchange} would copy each such task to {first.queue} as well",
            "give each queue of an exchange its own routing key",
        )
    elif first.exchange_type == second.exchange_type == "topic":
        longer, shorter = sorted((second, first), key=lambda claim: len(claim.key), reverse=True)
        if f".{longer.key}".endswith(f".{shorter.key}"):
            findings.add(
                "exchange/delay-clash",
                f"{shorter.variable}.routing_key",
                shorter.key,
                f"it ends the key {longer.key} of {longer.queue}: delayed tasks are bound by the end of "
                "their key, and would reach both queues",
                "give the queues keys of which none ends another",
            )


def _check_routing(
    routing: Mapping[str, Any], pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings
) -> None:
    claims = _claims(pools)
    kinds = {claim.queue: claim.kind for claim in claims}
    targets = [(key, routing[key]) for key in ("default_queue", "periodic_queue") if key in routing]
    targets += [(f"hints.{hint}", queue) for hint, queue in routing.get("hints", {}).items()]
    for part in ("site_rules", "rules"):
        for at, rule in enumerate(routing.get(part, [])):
            here = f"{part}.{rule.get('name', at)}"
            if not rule.get("words") and not rule.get("task"):
                findings.add(
                    "routing/no-condition",
                    f"fleet_routing.{here}",
                    rule,
                    "a rule without words or task never matches",
                    "give it words, or a task pattern",
                )
            branches = [
                (f"{here}.branches.{n}.queue", b.get("queue")) for n, b in enumerate(rule.get("branches", []))
            ]
            targets += [
                (name, queue) for name, queue in [*branches, (f"{here}.queue", rule.get("queue"))] if queue
            ]
    for name, queue in targets:
        if queue not in kinds:
            findings.add(
                "routing/unknown-queue",
                f"fleet_routing.{name}",
                queue,
                f"no pool has this queue{nearest(queue, kinds)}",
                "name one of: " + (", ".join(kinds) or "(no queue is defined)"),
            )
    for hint, queue in routing.get("hints", {}).items():
        if hint in KINDS and queue in kinds and kinds[queue] != hint:
            findings.add(
                "mistake/mixed-kinds",
                f"fleet_routing.hints.{hint}",
                queue,
                f"the hint promises kind {hint}, the queue belongs to a pool of kind {show(kinds[queue])}",
                f"name a queue of a pool of kind {hint}",
            )
