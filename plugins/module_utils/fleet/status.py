"""How a fleet is: what a host says of its instances, what is wrong, and one screen of it for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .instances import PREFIX
from .table import columns

SCHEMA: Final = 1
BEAT: Final = "celery-fleet-beat.service"
# Properties of a unit that tell how it is; one call of systemctl gives them for all units.
PROPERTIES: Final = (
    "Id",
    "ActiveState",
    "SubState",
    "NRestarts",
    "MainPID",
    "MemoryCurrent",
    "ActiveEnterTimestampMonotonic",
    "StatusText",
    "ControlGroup",
)
# A worker that was started again so often, and runs for less than so many seconds, crashes in a loop.
CRASHES: Final = 3
SETTLED_S: Final = 600
# A worker writes down how it is at least every ten seconds.
STALE_S: Final = 30
# Seconds within which a scheduler must have taken over from a lost one, so that one of them is active.
TAKE_OVER_S: Final = 60
MIB: Final = 1024 * 1024


def read_units(shown: str) -> list[dict[str, str]]:
    """Read what ``systemctl show`` prints of several units.

    Args:
        shown: Its output with at least ``PROPERTIES``.

    Returns:
        The properties of each unit that exists.
    """
    blocks = (block.splitlines() for block in shown.strip().split("\n\n"))
    units = [{name: value for line in lines for name, _, value in [line.partition("=")]} for lines in blocks]
    return [unit for unit in units if "Id" in unit]


def instance(
    unit: Mapping[str, str], state: Mapping[str, Any] | None, memory: int | None, now: float, monotonic: float
) -> dict[str, Any]:
    """Say how one instance of a pool is.

    Args:
        unit: Its properties.
        state: What the worker itself wrote down; none if there is nothing.
        memory: Bytes that it uses; none if that is not known.
        now: Seconds since the epoch on its host.
        monotonic: Seconds since the start of its host.

    Returns:
        Plain figures: times are in seconds, memory in MiB; none where something is not known.
    """
    pool, _, name = unit["Id"].removeprefix(PREFIX).removesuffix(".service").partition("@")
    entered = _number(unit.get("ActiveEnterTimestampMonotonic"))
    runs = unit["ActiveState"] in ("active", "reloading", "deactivating", "activating")
    own = state if runs and state and state.get("pid") == _number(unit.get("MainPID")) else None
    active = [
        {
            "id": task.get("id"),
            "name": task.get("name"),
            "queue": task.get("queue"),
            "age_s": _since(task.get("started"), now),
            "time_limit": task.get("time_limit"),
        }
        for task in (own or {}).get("active", ())
    ]
    return {
        "pool": pool,
        "instance": name,
        "release": own["release"] if own and own.get("release") else name,
        "unit": unit["Id"],
        "unit_state": f"{unit['ActiveState']} ({unit['SubState']})",
        "state": own["state"] if own else _SYSTEMD.get(unit["ActiveState"], unit["ActiveState"]),
        "obstacle": (own or {}).get("obstacle") or "",
        "slots": (own or {}).get("slots"),
        "active": active if own else None,
        "reserved": (own or {}).get("reserved"),
        "executed": (own or {}).get("executed"),
        "failed": (own or {}).get("failed"),
        "last_task_s": _since((own or {}).get("last_task"), now),
        "state_age_s": _since((own or {}).get("updated"), now),
        "memory_mib": None if memory is None else round(memory / MIB),
        "restarts": _number(unit.get("NRestarts")) or 0,
        "lost_consumers": (own or {}).get("restarts_lost_consumer"),
        "up_s": round(monotonic - entered / 1e6) if unit["ActiveState"] == "active" and entered else None,
        "text": unit.get("StatusText", ""),
    }


# What systemd calls the states of a worker that wrote nothing down.
_SYSTEMD: Final = {"active": "running", "activating": "starting", "deactivating": "stopping"}


def beat(
    unit: Mapping[str, str], state: Mapping[str, Any] | None, now: float, monotonic: float
) -> dict[str, Any]:
    """Say how the scheduler of a host is.

    Args:
        unit: Properties of its unit.
        state: What the scheduler wrote down; none if there is nothing.
        now: Seconds since the epoch on its host.
        monotonic: Seconds since the start of its host.

    Returns:
        Plain figures; ``role`` is ``active``, ``standby``, ``waiting`` or systemd's word.
    """
    entered = _number(unit.get("ActiveEnterTimestampMonotonic"))
    own = state if state and state.get("pid") == _number(unit.get("MainPID")) else None
    tick = (own or {}).get("last_tick") or {}
    return {
        "role": own["role"] if own and unit["ActiveState"] == "active" else unit["ActiveState"],
        "obstacle": (own or {}).get("obstacle") or "",
        "release": (own or {}).get("release"),
        "entries": (own or {}).get("entries"),
        "last_tick": tick.get("name"),
        "last_tick_s": _since(tick.get("at"), now),
        "state_age_s": _since((own or {}).get("updated"), now),
        "restarts": _number(unit.get("NRestarts")) or 0,
        "up_s": round(monotonic - entered / 1e6) if unit["ActiveState"] == "active" and entered else None,
    }


def queue(told: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Take from what the management API tells of a queue what a person asks for.

    Args:
        told: One entry of ``/api/queues``.
        now: Seconds since the epoch.

    Returns:
        Plain figures; none where the broker does not tell.
    """
    stats = told.get("message_stats") or {}

    def rate(name: str) -> float:
        return round(float((stats.get(f"{name}_details") or {}).get("rate") or 0), 1)

    return {
        "name": told["name"],
        "ready": told.get("messages_ready"),
        "unacked": told.get("messages_unacknowledged"),
        "consumers": told.get("consumers"),
        "in_per_s": rate("publish"),
        "out_per_s": rate("ack"),
        "oldest_s": _since(told.get("head_message_timestamp"), now),
    }


def document(
    hosts: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Iterable[str]],
    broker: Mapping[str, Any],
    pools: Mapping[str, Iterable[str]],
    dead: Iterable[str],
    schedulers: Iterable[str] = (),
) -> dict[str, Any]:
    """Put together how the fleet is, and find what is wrong.

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


def text(status: Mapping[str, Any]) -> str:
    """Write a status for people: what is wrong, then hosts and pools, then queues, then the scheduler.

    Args:
        status: What ``document`` gave.

    Returns:
        Lines of text.
    """
    head = [f"! {warning}" for warning in status["warnings"]] or ["All is well."]
    parts = [head, columns(list(_host_rows(status["hosts"])))]
    if status["queues"]:
        parts.append(columns(list(_queue_rows(status))))
    elif not status["broker"]["asked"]:
        parts.append(["The brokers are outside of --limit, so nothing is said of the queues."])
    if status["beat"]:
        parts.append(columns(list(_beat_rows(status["beat"]))))
    return "\n\n".join("\n".join(part) for part in parts)


# What is wrong ---------------------------------------------------------------------------------------


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
    """Say whether an instance is started again and again.

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
    active = [host for host, each in beats.items() if each is not None and each["role"] == "active"]
    if beats and not active and all(rows[host]["reachable"] for host in beats):
        yield f"No scheduler is active; one takes over within {TAKE_OVER_S} s of the loss of another"
    if len(active) > 1:
        yield f"The schedulers of {' and '.join(active)} both say that they are active"


# What people read ------------------------------------------------------------------------------------


def span(seconds: float | None) -> str:
    """Write a span of time in its largest unit.

    Args:
        seconds: Its length; none if it is not known.

    Returns:
        For example ``7 s`` or ``3 h``.
    """
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _host_rows(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield (
        "host",
        "pool",
        "release",
        "state",
        "active/reserved/slots",
        "memory",
        "restarts",
        "last task",
        "note",
    )
    for host, row in hosts.items():
        if not row["reachable"]:
            yield (host, "-", "-", "UNREACHABLE", "-", "-", "-", "-", "")
            continue
        for each in row["instances"]:
            memory = "-" if each["memory_mib"] is None else f"{each['memory_mib']} MiB"
            yield (
                host,
                each["pool"],
                each["release"],
                "crash loop" if crashes(each) else each["state"],
                "/".join(map(_shown, (_count(each["active"]), each["reserved"], each["slots"]))),
                memory,
                str(each["restarts"]),
                span(each["last_task_s"]),
                _note(each, row["drained"]),
            )
        for pool in row["missing"]:
            note = f"drained: {row['drained'][pool]}" if pool in row["drained"] else ""
            yield (host, pool, "-", "drained" if note else "MISSING", "-", "-", "-", "-", note)


def _note(each: Mapping[str, Any], drained: Mapping[str, str]) -> str:
    notes = [f"drained: {drained[each['pool']]}"] if each["pool"] in drained else []
    if each["state"] in ("stopping", "paused") and each["active"]:
        oldest = max(each["active"], key=lambda task: task["age_s"] or 0)
        notes.append(f"still runs {oldest['name']} since {span(oldest['age_s'])}")
    if each["obstacle"]:
        notes.append(str(each["obstacle"]))
    return "; ".join(notes)


def _queue_rows(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield ("queue", "pool", "ready", "unacked", "consumers", "in/s", "out/s", "oldest")
    for each in status["queues"]:
        figures = (each[name] for name in ("ready", "unacked", "consumers", "in_per_s", "out_per_s"))
        yield (each["name"], each["pool"], *map(_shown, figures), span(each["oldest_s"]))
    for each in status["dead_letters"]:
        if each["messages"]:
            yield (each["name"], "(dead)", str(each["messages"]), *["-"] * 5)


def _beat_rows(beats: Mapping[str, Mapping[str, Any] | None]) -> Iterator[tuple[str, ...]]:
    yield ("scheduler", "role", "release", "entries", "last tick", "restarts")
    for host, each in beats.items():
        if each is None:
            yield (host, "-", "-", "-", "-", "-")
            continue
        tick = f"{each['last_tick']}, {span(each['last_tick_s'])} ago" if each["last_tick"] else "-"
        yield (
            host,
            each["role"],
            _shown(each["release"]),
            _shown(each["entries"]),
            tick,
            str(each["restarts"]),
        )


def _count(items: Sequence[object] | None) -> int | None:
    return None if items is None else len(items)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def _number(value: object) -> int | None:
    told = str(value)
    # systemd's word for "not known" is the largest number, or a text.
    return int(told) if told.isdigit() and int(told) < 2**63 else None


def _since(then: object, now: float) -> float | None:
    return round(max(0.0, now - then), 1) if isinstance(then, int | float) else None
