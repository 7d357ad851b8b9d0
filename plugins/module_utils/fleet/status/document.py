"""The fleet's status as one document, warnings first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .. import certificates as tls
from ..broker.stranded import is_foreign, sentence
from ..host.names import BEAT
from ..text import count, span
from . import results as kept
from . import waits

SCHEMA: Final = 1
# A worker that was started again so often, and runs for less than so many seconds, crashes in a loop.
CRASHES: Final = 3
SETTLED_S: Final = 600
# A worker writes its state at least every ten seconds.
STALE_S: Final = 30
# Seconds within which a scheduler must have taken over from a lost one, so that one of them is active.
TAKE_OVER_S: Final = 60
# Dead letters that RabbitMQ moves out of a queue at once; more than these wait for room.
DEAD_ON_THEIR_WAY: Final = 32
# Tasks that are named of those that lost their processes.
MOST_LOST: Final = 3


def document(
    hosts: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Iterable[str]],
    broker: Mapping[str, Any],
    pools: Mapping[str, Iterable[str]],
    dead: Collection[str],
    schedulers: Iterable[str] = (),
    unused: Mapping[str, Iterable[str]] | None = None,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    certificates: Sequence[Mapping[str, Any]] = (),
    kit_certificates: bool = True,
) -> dict[str, Any]:
    """Build the fleet's status, and find what is wrong.

    Args:
        hosts: For each worker host what the module ``worker_status`` returned, or ``unreachable`` and why.
        expected: The pools that the model gives to each of these hosts.
        broker: ``queues`` as the broker reported them, ``obstacles`` of its nodes, ``errors`` of nodes that
            did not answer; ``asked`` is false if no node was to be asked.
        pools: The queues of each pool that a host runs.
        dead: The queues of dead letters.
        schedulers: The hosts that should run a scheduler.
        unused: The queues of each pool that no host runs.
        results: For the host that keeps results what the module ``results_server`` returned.
        certificates: What ``certificates.ends`` returned, of those that servers show and of authorities.
        kit_certificates: Whether the kit makes them.

    Returns:
        A document of plain types: ``fine``, ``warnings``, ``notes`` (what need not be wrong), ``hosts``,
        ``queues``, ``dead_letters``, ``stranded``, ``beat``, ``results``, ``certificates``.
    """
    rows = {name: _host(reported, expected.get(name, ())) for name, reported in hosts.items()}
    by_name = {each["name"]: each for each in broker.get("queues") or ()}
    names = [(pool, name) for pool, queues in pools.items() for name in queues]
    instances = [each for row in rows.values() for each in row["instances"]]
    queues = [
        {"pool": pool, **by_name[name], **waits.of_queue(by_name[name], instances)}
        for pool, name in names
        if name in by_name
    ]
    letters = [
        {"name": name, "messages": (by_name[name]["ready"] or 0) + (by_name[name]["unacked"] or 0)}
        for name in dead
        if name in by_name
    ]
    stranded = list(_stranded(by_name.values(), pools, unused or {}, dead))
    beats = {name: hosts[name].get("beat") for name in schedulers if name in hosts}
    warnings = [
        *(warning for name, row in rows.items() for warning in _host_warnings(name, row)),
        *_broker_warnings(broker),
        *_queue_warnings(broker, names, by_name),
        *(
            f"{each['name']}: {each['messages']} dead letters; see playbooks/dead_letters.yml"
            for each in letters
            if each["messages"]
        ),
        *(each.pop("warning") for each in stranded),
        *_beat_warnings(beats, rows),
        *(warning for name, each in (results or {}).items() for warning in kept.warnings(name, each)),
        *(
            f"{tls.sentence(each)}; {tls.remedy(each, kit_certificates)}"
            for each in certificates
            if each["level"] in ("warning", "error")
        ),
    ]
    return {
        "schema": SCHEMA,
        "fine": not warnings,
        "warnings": warnings,
        "notes": [
            *(note for name, row in rows.items() for note in _memory_notes(name, row)),
            *(note for name, each in (results or {}).items() for note in kept.notes(name, each)),
        ],
        "hosts": rows,
        "queues": queues,
        "dead_letters": letters,
        "stranded": stranded,
        "beat": beats,
        "results": {name: kept.row(each) for name, each in (results or {}).items()},
        "certificates": [dict(each) for each in certificates],
        "broker": {
            "asked": bool(broker.get("asked", True)),
            "obstacles": list(broker.get("obstacles") or ()),
            "errors": list(broker.get("errors") or ()),
        },
    }


def _host(reported: Mapping[str, Any], expected: Iterable[str]) -> dict[str, Any]:
    reachable = not reported.get("unreachable") and "instances" in reported
    instances = list(reported.get("instances") or ())
    drained = dict(reported.get("drained") or {})
    present = {instance["pool"] for instance in instances}
    return {
        "reachable": reachable,
        "error": "" if reachable else " ".join(str(reported.get("msg") or "no answer").split()),
        "instances": instances,
        "drained": drained,
        "oom_kills": {pool: killed for pool, killed in (reported.get("oom_kills") or {}).items() if killed},
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


def _memory_notes(host: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Say what the kernel killed. It counts for as long as the pool's slice is there, so it is no warning."""
    for pool, killed in row["oom_kills"].items():
        lost: Counter[str] = Counter()
        for instance in row["instances"]:
            lost.update(instance["lost"] if instance["pool"] == pool else {})
        tasks = ", ".join(f"{name} ({count})" for name, count in lost.most_common(MOST_LOST))
        yield (
            f"{host}: pool {pool} used up its memory, and the kernel killed {killed} of its processes so far"
            f"{'; tasks that lost theirs: ' + tasks if tasks else ''}; see demand.memory_mib of the pool"
        )


def _instance_warnings(host: str, instance: Mapping[str, Any], drained: bool) -> Iterator[str]:
    about = f"{host}: {instance['pool']} {instance['instance']}"
    if instance["state"] == "failed" or (instance["state"] == "inactive" and not drained):
        yield f"{about} is {instance['unit_state']}; see journalctl -u {instance['unit']}"
    elif crashes(instance):
        times = f"{instance['restarts']} times so far"
        yield f"{about} crashes in a loop, {times}; see journalctl -u {instance['unit']}"
    elif instance["state"] == "waiting":
        yield f"{about} does not consume{': ' + instance['obstacle'] if instance['obstacle'] else ''}"
    elif instance["state"] == "paused" and not drained:
        yield f"{about} is paused, and its host is not drained of it"
    if instance["state_age_s"] is not None and instance["state_age_s"] > STALE_S:
        yield f"{about} has reported nothing for {span(instance['state_age_s'])}; it may hang"


def crashes(instance: Mapping[str, Any]) -> bool:
    """Return whether an instance is started again and again.

    Args:
        instance: What ``instance`` returned.

    Returns:
        True if it was started again several times and has not run for long since.
    """
    return instance["restarts"] >= CRASHES and (instance["up_s"] is None or instance["up_s"] < SETTLED_S)


def _broker_warnings(broker: Mapping[str, Any]) -> Iterator[str]:
    if not broker.get("asked", True):
        return
    yield from broker.get("errors") or ()
    yield from broker.get("obstacles") or ()
    if broker.get("queues") is None:
        yield "No broker node answered, so nothing is known of the queues"


def _queue_warnings(
    broker: Mapping[str, Any], names: Sequence[tuple[str, str]], by_name: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    if broker.get("queues") is None:
        return
    for pool, name in names:
        if name not in by_name:
            yield f"{name}: the broker has no such queue; run playbooks/broker.yml"
            continue
        waiting_dead = _dead_that_wait(by_name[name])
        if waiting_dead > DEAD_ON_THEIR_WAY:
            yield (
                f"{name}: {waiting_dead} dead letters stay in it, because their own queue is full or gone, "
                "and leave less room for tasks; see playbooks/dead_letters.yml"
            )
        if by_name[name]["consumers"] is None:
            yield f"{name}: the broker gives no figures; the node that leads it may be down"
        elif not by_name[name]["consumers"]:
            waiting = f", {by_name[name]['ready']} tasks wait" if by_name[name]["ready"] else ""
            yield f"{name}: nobody of pool {pool} consumes{waiting}"


def _dead_that_wait(queue: Mapping[str, Any]) -> int:
    """Return how many dead letters a queue still holds."""
    if queue["messages"] is None:
        return 0
    return int(queue["messages"]) - (queue["ready"] or 0) - (queue["unacked"] or 0)


def _stranded(
    reported: Iterable[Mapping[str, Any]],
    pools: Mapping[str, Iterable[str]],
    unused: Mapping[str, Iterable[str]],
    dead: Collection[str],
) -> Iterator[dict[str, Any]]:
    """Find the queues whose messages nobody takes: those that the model lacks, and those of unused pools."""
    used = [name for queues in pools.values() for name in queues]
    idle = {name: pool for pool, queues in unused.items() for name in queues}
    for each in reported:
        name, messages = each["name"], each["messages"] or (each["ready"] or 0) + (each["unacked"] or 0)
        foreign = is_foreign(name, [*used, *idle], dead)
        if not messages or each["exclusive"] or not (foreign or name in idle):
            continue
        held = count(messages, "message")
        if each["unacked"]:
            held += f" ({each['unacked']} unacknowledged)"
        if each["oldest_s"] is not None:
            held += f", the oldest of {span(each['oldest_s'])}"
        yield {
            **{field: each[field] for field in ("name", "ready", "unacked", "consumers", "oldest_s")},
            "messages": messages,
            "warning": sentence(name, held, used or idle)
            if foreign
            else f"{name}: no host runs pool {idle[name]}, and it holds {held}",
        }


def _beat_warnings(
    beats: Mapping[str, Mapping[str, Any] | None], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for host, scheduler in beats.items():
        if rows[host]["reachable"] and scheduler is None:
            yield f"{host}: no scheduler runs here; run playbooks/deploy.yml"
        elif scheduler is not None and scheduler["role"] not in ("active", "standby"):
            why = f": {scheduler['obstacle']}" if scheduler["obstacle"] else ""
            yield f"{host}: the scheduler is {scheduler['role']}{why}; see journalctl -u {BEAT}"
        elif scheduler is not None and crashes(scheduler):
            yield f"{host}: the scheduler crashes in a loop; see journalctl -u {BEAT}"
        if (
            scheduler is not None
            and scheduler["state_age_s"] is not None
            and scheduler["state_age_s"] > STALE_S
        ):
            silent = span(scheduler["state_age_s"])
            yield f"{host}: the scheduler has reported nothing for {silent}; it may hang"
        if scheduler is not None and scheduler["ahead"]:
            names = ", ".join(scheduler["ahead"])
            yield f"{host}: the last run of {names} lay in the future; check the clocks of all schedulers"
    active = [
        host for host, scheduler in beats.items() if scheduler is not None and scheduler["role"] == "active"
    ]
    if beats and not active and all(rows[host]["reachable"] for host in beats):
        yield f"No scheduler is active; one takes over within {TAKE_OVER_S} s of the loss of another"
    if len(active) > 1:
        yield f"The schedulers of {' and '.join(active)} both report that they are active"


def count_of(items: Sequence[object] | None) -> int | None:
    """Return how many items there are, none if that is not known."""
    return None if items is None else len(items)
