"""Relations between the fields of one pool, and between pools, that must not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from ..findings import Findings, nearest, show
from ..host.listeners import LOOPBACK
from .layers import Origins, variable_of
from .names import BEAT, CONTROL, DEAD, DELAYED, KINDS, VERIFY
from .plain import texts
from .spec import LARGEST, Report

WEEK_S: Final = 7 * 24 * 3600


@dataclass(frozen=True)
class _Rule:
    """A relation between the fields of one pool that must not hold.

    A finding names the field of ``at`` that the highest layer set; of several, the first.
    """

    id: str
    at: tuple[str, ...]
    broken: Callable[[Mapping[str, Any]], bool]


# A rule applies only if every field that it reads is legal by itself (KeyError otherwise).
POOL_RULES: Final = (
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
        "queue/priority-of-quorum",
        ("queues", "queue_type"),
        lambda p: p["queue_type"] == "quorum" and any(q.get("max_priority") for q in p["queues"].values()),
    ),
    _Rule(
        "queue/drops-oldest",
        ("overflow",),
        lambda p: "drop-head" in {p["overflow"], *(q.get("overflow") for q in p["queues"].values())},
    ),
)


@dataclass(frozen=True)
class Claim:
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
        """The full path of the queue in the variables."""
        return variable_of(self.origins, f"fleet_pools.{self.pool}", ("queues", self.queue))


def claims_of(pools: Mapping[str, tuple[dict[str, Any], Origins]]) -> list[Claim]:
    """Return every queue, exchange and key that the pools claim."""
    claims = []
    for name, (fields, origins) in pools.items():
        queues = fields.get("queues")
        for queue, q in queues.items() if isinstance(queues, dict) else ():
            key = q.get("routing_key") if isinstance(q, dict) else None
            exchange = fields.get("exchange")
            claims.append(
                Claim(
                    name,
                    fields.get("kind"),
                    queue,
                    exchange if isinstance(exchange, str) else "",
                    fields.get("exchange_type"),
                    key if isinstance(key, str) else "",
                    origins,
                )
            )
    return claims


def check_broker(broker: Mapping[str, Any], findings: Findings) -> None:
    """Check what a broker has that the kit installs, and one that a site has already.

    Args:
        broker: Its legal fields.
        findings: Receives what is wrong.
    """
    managed = broker.get("managed", True)
    if managed and broker.get("port", 0) == broker.get("management_port"):
        findings.add("broker/same-port", "fleet_broker.management_port", broker["management_port"])
    for name in ("api", "administrator"):
        if managed and broker.get(name):
            reason = f"{name} is of a broker that the site has already, and managed is not false"
            findings.add("broker/contradiction", f"fleet_broker.{name}", broker[name], reason)
        if not managed and not broker.get(name):
            findings.add("broker/no-login", f"fleet_broker.{name}", None)
    if managed:
        return
    if broker.get("tls") and not broker.get("ca"):
        findings.add("broker/no-authority", "fleet_broker.ca", None)
    api = str(broker.get("api") or "")
    if api.startswith("http:") and urlsplit(api).hostname not in LOOPBACK:
        findings.add("broker/plain-api", "fleet_broker.api", api)


def check_claims(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
    """Find what two pools cannot both have."""
    claims = claims_of(pools)
    exchanges = {claim.exchange for claim in claims}
    owner: dict[str, Claim] = {}
    types: dict[str, Claim] = {}
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
                variable_of(claim.origins, f"fleet_pools.{claim.pool}", ("exchange_type",)),
                claim.exchange_type,
                f"pool {typed.pool} uses exchange {claim.exchange} as {show(typed.exchange_type)}",
                "give both pools the same exchange_type, or exchanges of their own",
            )
    delayed = any(fields.get("queue_type") == "quorum" for fields, _ in pools.values()) and any(
        fields.get("exchange_type") == "topic" for fields, _ in pools.values()
    )
    for at, claim in enumerate(claims):
        for other in claims[:at]:
            _check_keys(other, claim, delayed, findings)


def check_one_concurrency(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
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
        variable_of(origins, f"fleet_pools.{name}", ("concurrency",)),
        figure,
        f"the pools {', '.join(pools)} of the kinds {', '.join(sorted(kinds))} all have this one figure",
    )


def check_calls(pools: Mapping[str, tuple[dict[str, Any], Origins]], findings: Findings) -> None:
    """Find calls to pools that do not exist."""
    for name, (fields, origins) in pools.items():
        for called in texts(fields.get("calls")):
            if called not in pools:
                findings.add(
                    "pool/unknown-call",
                    variable_of(origins, f"fleet_pools.{name}", ("calls",)),
                    called,
                    f"there is no such pool{nearest(called, pools)}",
                    "name one of: " + ", ".join(pools),
                )


def _check_reserved(claim: Claim, exchanges: set[str], findings: Findings) -> None:
    base = f"fleet_pools.{claim.pool}"
    named = ((claim.queue, claim.variable), (claim.exchange, variable_of(claim.origins, base, ("exchange",))))
    for name, variable in named:
        dead = name.endswith(DEAD) and name.removesuffix(DEAD) in exchanges
        if name in (VERIFY, BEAT) or name.startswith(DELAYED) or dead or CONTROL.fullmatch(name):
            findings.add(
                "name/reserved",
                variable,
                name,
                "the kit or Celery has a queue or an exchange of this name itself",
                f"choose a name other than {VERIFY}, {BEAT}, {DELAYED}*, <exchange>{DEAD}, celeryev, "
                "*celery.pidbox and celery_fleet_migration.*",
            )


def _check_beat_key(claim: Claim, findings: Findings) -> None:
    if claim.key == BEAT:
        findings.add(
            "name/reserved",
            f"{claim.variable}.routing_key",
            claim.key,
            "the scheduler's own notes have this key",
            f"choose a key other than {BEAT}",
        )


def _check_keys(first: Claim, second: Claim, delayed: bool, findings: Findings) -> None:
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
    elif delayed:
        # Of every type: the queues of a direct exchange are bound to the delays, too (broker/topology.py).
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


def check_routing(
    routing: Mapping[str, Any], pools: Mapping[str, tuple[dict[str, Any], Origins]], report: Report
) -> None:
    """Check that rules and aliases lead to queues that exist."""
    claims = claims_of(pools)
    kinds = {claim.queue: claim.kind for claim in claims}
    targets: list[tuple[tuple[str, ...], str]] = [
        ((key,), routing[key]) for key in ("default_queue", "periodic_queue") if key in routing
    ]
    targets += [
        ((part, name), queue) for part in ("hints", "aliases") for name, queue in _items(routing, part)
    ]
    for part in ("site_rules", "rules"):
        for at, rule in enumerate(routing.get(part, [])):
            here = (part, rule.get("name", str(at)))
            if not rule.get("words") and not rule.get("task"):
                report(
                    "routing/no-condition",
                    here,
                    rule,
                    "a rule without words or task never matches",
                    "give it words, or a task pattern",
                )
            targets += [
                ((*here, "branches", str(n), "queue"), branch["queue"])
                for n, branch in enumerate(rule.get("branches", []))
                if "queue" in branch
            ]
            targets += [((*here, "queue"), rule["queue"])] if "queue" in rule else []
    for path, queue in targets:
        if queue not in kinds:
            report(
                "routing/unknown-queue",
                path,
                queue,
                f"no pool has this queue{nearest(queue, kinds)}",
                "name one of: " + (", ".join(kinds) or "(no queue is defined)"),
            )
    for alias, queue in _items(routing, "aliases"):
        if alias in kinds:
            report("routing/alias-of-queue", ("aliases", alias), queue)
    for hint, queue in _items(routing, "hints"):
        if hint in KINDS and queue in kinds and kinds[queue] != hint:
            report(
                "mistake/mixed-kinds",
                ("hints", hint),
                queue,
                f"the hint promises kind {hint}, the queue belongs to a pool of kind {show(kinds[queue])}",
                f"name a queue of a pool of kind {hint}",
            )


def _items(routing: Mapping[str, Any], part: str) -> Iterable[tuple[str, str]]:
    items: Mapping[str, str] = routing.get(part, {})
    return items.items()
