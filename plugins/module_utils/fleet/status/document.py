"""How a fleet is, as one document, warnings first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..host.names import BEAT
from ..text import span

SCHEMA: Final = 1
# A worker that was started again so often, and runs for less than so many seconds, crashes in a loop.
CRASHES: Final = 3
SETTLED_S: Final = 600
# A worker writes down how it is at least every ten seconds.
STALE_S: Final = 30
# Seconds within which a scheduler must have taken over from a lost one, so that one of them is active.
TAKE_OVER_S: Final = 60


def document(
    hosts: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Iterable[str]],
    broker: Mapping[str, Any],
    pools: Mapping[str, Iterable[str]],
    dead: Iterable[str],
    schedulers: Iterable[str] = (),
) -> dict[str, Any]:
    """Build the fleet's status, and find what is wrong.

    Args:
        hosts: For each worker host what the module ``worker_status`` returned, or ``unreachable`` and why.
        expected: The pools that the model gives to each of these hosts.
        broker: ``queues`` as the broker told them, ``obstacles`` of its nodes, ``errors`` of nodes that did
            not answer; ``asked`` is false if no node was to be asked.
        pools: The queues of each pool.
        dead: The queues of dead letters.
        schedulers: The hosts that should run a scheduler.

    Returns:
        A document of plain types: ``fine``, ``warnings``, ``hosts``, ``queues``, ``dead_letters``, ``beat``.
    """
    rows = {name: _host(told, expected.get(name, ())) for name, told in hosts.items()}
    known = {each["name"]: each for each in broker.get("queues") or ()}
    names = [(pool, name) for pool, queues in pools.items() for name in queues]
    queues = [{"pool": pool, **known[name]} for pool, name in names if name in known]
    letters = [
        {"name": name, "messages": (known[name]["ready"] or 0) + (known[name]["unacked"] or 0)}
        for name in dead
        if name in known
    ]
    beats = {name: hosts[name].get("beat") for name in schedulers if name in hosts}
    warnings = [
        *(warning for name, row in rows.items() for warning in _host_warnings(name, row)),
        *_broker_warnings(broker),
        *_queue_warnings(broker, names, known),
        *(
            f"{each['name']}: {each['messages']} dead letters; see playbooks/dead_letters.yml"
            for each in letters
            if each["messages"]
        ),
        *_beat_warnings(beats, rows),
    ]
    return {
        "schema": SCHEMA,
        "fine": not warnings,
        "warnings": warnings,
        "hosts": rows,
        "queues": queues,
        "dead_letters": letters,
        "beat": beats,
        "broker": {
            "asked": bool(broker.get("asked", True)),
            "obstacles": list(broker.get("obstacles") or ()),
            "errors": list(broker.get("errors") or ()),
        },
    }


def _host(told: Mapping[str, Any], expected: Iterable[str]) -> dict[str, Any]:
    reachable = not told.get("unreachable") and "instances" in told
    found = list(told.get("instances") or ())
    drained = dict(told.get("drained") or {})
    present = {each["pool"] for each in found}
    return {
        "reachable": reachable,
        "error": "" if reachable else " ".join(str(told.get("msg") or "no answer").split()),
        "instances": found,
        "drained": drained,
        "missing": [pool for pool in expected if reachable and pool not in present],
        "surplus": sorted(present - set(expected)) if reachable else [],
    }


def _host_warnings(host: str, row: Mapping[str, Any]) -> Iterator[str]:
    if not row["reachable"]:
        yield f"{host}: cannot be reached: {row['error']}"
        return
    for pool in row["missing"]:
        if pool not in row["drained"]:
            yield f"{host}: pool {pool} does not run; run playbooks/deploy.yml, or see its units' journal"
    for pool in row["surplus"]:
        yield f"{host}: pool {pool} runs, but the model does not give it to this host"
    by_pool: dict[str, list[Mapping[str, Any]]] = {}
    for each in row["instances"]:
        by_pool.setdefault(each["pool"], []).append(each)
    for pool, instances in by_pool.items():
        for each in instances:
            yield from _instance_warnings(host, each, pool in row["drained"])
        taking = [each for each in instances if each["state"] in ("consuming", "running")]
        if len(taking) > 1:
            names = " and ".join(each["instance"] for each in taking)
            yield f"{host}: pool {pool} runs {len(taking)} times ({names}): during a deploy, or left by one"


def _instance_warnings(host: str, each: Mapping[str, Any], drained: bool) -> Iterator[str]:
    about = f"{host}: {each['pool']} {each['instance']}"
    if each["state"] == "failed" or (each["state"] == "inactive" and not drained):
        yield f"{about} is {each['unit_state']}; see journalctl -u {each['unit']}"
    elif crashes(each):
        yield f"{about} crashes in a loop, {each['restarts']} times so far; see journalctl -u {each['unit']}"
    elif each["state"] == "waiting":
        yield f"{about} does not consume{': ' + each['obstacle'] if each['obstacle'] else ''}"
    elif each["state"] == "paused" and not drained:
        yield f"{about} is paused, and its host is not drained of it"
    if each["state_age_s"] is not None and each["state_age_s"] > STALE_S:
        yield f"{about} has said nothing for {span(each['state_age_s'])}; it may hang"


def crashes(each: Mapping[str, Any]) -> bool:
    """Return whether an instance is started again and again.

    Args:
        each: What ``instance`` gave.

    Returns:
        True if it was started again several times and has not run for long since.
    """
    return each["restarts"] >= CRASHES and (each["up_s"] is None or each["up_s"] < SETTLED_S)


def _broker_warnings(broker: Mapping[str, Any]) -> Iterator[str]:
    if not broker.get("asked", True):
        return
    yield from broker.get("errors") or ()
    yield from broker.get("obstacles") or ()
    if broker.get("queues") is None:
        yield "No broker node answered, so nothing is known of the queues"


def _queue_warnings(
    broker: Mapping[str, Any], names: Sequence[tuple[str, str]], known: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    if broker.get("queues") is None:
        return
    for pool, name in names:
        if name not in known:
            yield f"{name}: the broker has no such queue; run playbooks/broker.yml"
        elif known[name]["consumers"] is None:
            yield f"{name}: the broker gives no figures; the node that leads it may be down"
        elif not known[name]["consumers"]:
            waiting = f", {known[name]['ready']} tasks wait" if known[name]["ready"] else ""
            yield f"{name}: nobody of pool {pool} consumes{waiting}"


def _beat_warnings(
    beats: Mapping[str, Mapping[str, Any] | None], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for host, each in beats.items():
        if rows[host]["reachable"] and each is None:
            yield f"{host}: no scheduler runs here; run playbooks/deploy.yml"
        elif each is not None and each["role"] not in ("active", "standby"):
            why = f": {each['obstacle']}" if each["obstacle"] else ""
            yield f"{host}: the scheduler is {each['role']}{why}; see journalctl -u {BEAT}"
        elif each is not None and crashes(each):
            yield f"{host}: the scheduler crashes in a loop; see journalctl -u {BEAT}"
        if each is not None and each["state_age_s"] is not None and each["state_age_s"] > STALE_S:
            yield f"{host}: the scheduler has said nothing for {span(each['state_age_s'])}; it may hang"
        if each is not None and each["ahead"]:
            names = ", ".join(each["ahead"])
            yield f"{host}: the last run of {names} lay in the future; check the clocks of all schedulers"
    active = [host for host, each in beats.items() if each is not None and each["role"] == "active"]
    if beats and not active and all(rows[host]["reachable"] for host in beats):
        yield f"No scheduler is active; one takes over within {TAKE_OVER_S} s of the loss of another"
    if len(active) > 1:
        yield f"The schedulers of {' and '.join(active)} both say that they are active"


def count_of(items: Sequence[object] | None) -> int | None:
    """Return how many items there are, none if that is not known."""
    return None if items is None else len(items)
