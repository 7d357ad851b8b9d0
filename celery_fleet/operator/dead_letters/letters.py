"""Dead letters as an operator sees them: what died, where, why and how often, and which of them are meant."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from amqp import Message

from celery_fleet.fleet import Fleet

# What makes a delayed task wait also leaves its mark; it died of something else.
DELAYED = "celery_delayed_"

# What a former broker of the fleet recorded of a letter that was moved from there. This broker's own record
# of it begins with the way through the move's staging queue.
EARLIER_DEATHS = "fleet_earlier_deaths"
STAGING = "celery_fleet_move_in"

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead task.

    `key` tells this death of this task from every other; `queue` and `reason` are those of its last death,
    `times` how often it died in that queue, `sent_back` how often it was sent back, and `died` (seconds
    since 1970) when it died there for the first time.
    """

    key: str
    id: str | None
    task: str | None
    dead_queue: str
    queue: str | None
    reason: str
    times: int
    sent_back: int
    died: float | None
    returns_to: str | None


@dataclass(frozen=True)
class Selection:
    """Which dead letters are meant: those that fit in all that is given, the oldest `limit` of them."""

    pools: Sequence[str] = ()
    queues: Sequence[str] = ()
    tasks: Sequence[str] = ()
    ids: Sequence[str] = ()
    reasons: Sequence[str] = ()
    older_than: float = 0
    limit: int | None = None
    keys: frozenset[str] | None = None

    def fits(self, letter: DeadLetter, now: float) -> bool:
        """Return whether a dead letter is selected, apart from the limit."""
        conditions = (
            not self.queues or letter.queue in self.queues or letter.dead_queue in self.queues,
            not self.tasks or any(fnmatchcase(letter.task or "", pattern) for pattern in self.tasks),
            not self.ids or letter.id in self.ids,
            not self.reasons or letter.reason in self.reasons,
            not self.older_than or (letter.died is not None and now - letter.died > self.older_than),
            self.keys is None or letter.key in self.keys,
        )
        return all(conditions)


@dataclass(frozen=True)
class Found:
    """What a run met: how many letters each dead-letter queue holds, and those that were selected."""

    totals: Mapping[str, int]
    letters: tuple[DeadLetter, ...]
    done: int = 0

    def as_dict(self, details: int | None = None, now: float | None = None) -> dict[str, Any]:
        """Return it as plain data, with at most so many single letters."""
        now = time.time() if now is None else now
        selected = Counter(letter.dead_queue for letter in self.letters)
        return {
            "queues": {
                name: {"total": total, "selected": selected[name]} for name, total in self.totals.items()
            },
            "selected": len(self.letters),
            "done": self.done,
            "summary": _summary(self.letters, now),
            "letters": [
                {**asdict(letter), "age": _age(letter, now)} for letter in self.letters[slice(details)]
            ],
        }


def read_letter(fleet: Fleet, name: str, message: Message) -> DeadLetter:
    """Read a dead letter, whatever its publisher wrote into it.

    Args:
        fleet: The fleet.
        name: The dead-letter queue.
        message: A message of that queue.

    Returns:
        The dead letter.
    """
    headers: dict[str, Any] = message.headers or {}
    deaths = [
        death
        for recorded in (headers.get("x-death"), headers.get(EARLIER_DEATHS))
        for death in (recorded if isinstance(recorded, list) else [])
        if _is_death(death) and not death["queue"].startswith(STAGING)
    ]
    task_id, task = _name(headers.get("id")), _name(headers.get("task"))
    # The latest comes first.
    own = next(
        (death for death in deaths if death["queue"] != name and not death["queue"].startswith(DELAYED)), None
    )
    queue = own["queue"] if own else None
    times = sum(death["count"] for death in deaths if death["queue"] == queue)
    sent_back = sum(death["count"] for death in deaths if death["queue"] == name)
    key = str(message.delivery_info["routing_key"])
    about = json.dumps([name, task_id, task, key, queue, times, sent_back])
    return DeadLetter(
        key=hashlib.sha256(about.encode() + b"\0" + _bytes(message.body)).hexdigest()[:32],
        id=task_id,
        task=task,
        dead_queue=name,
        queue=queue,
        reason=own["reason"] if own else UNKNOWN,
        times=times,
        sent_back=sent_back,
        died=_seconds(own["time"]) if own and "time" in own else None,
        returns_to=_target(fleet, name, key),
    )


def _is_death(death: object) -> bool:
    """Return whether the broker wrote this, as far as can be seen."""
    return (
        isinstance(death, dict)
        and all(isinstance(death.get(name), str) for name in ("queue", "reason"))
        and isinstance(death.get("count"), int)
    )


def _seconds(time_of_death: object) -> float | None:
    return time_of_death.replace(tzinfo=UTC).timestamp() if isinstance(time_of_death, datetime) else None


def _name(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(_plain(value))


def _target(fleet: Fleet, name: str, routing_key: str) -> str | None:
    """Return the queue to which a message goes back: its key is the queue's, with a delay in front or not."""
    return next(
        (
            queue.name
            for pool in fleet.dead_letters.queues.get(name, ())
            for queue in fleet.pools[pool].queues
            if routing_key == queue.routing_key
            or (fleet.pools[pool].exchange_type == "topic" and routing_key.endswith(f".{queue.routing_key}"))
        ),
        None,
    )


def _summary(letters: Sequence[DeadLetter], now: float) -> list[dict[str, Any]]:
    groups: dict[tuple[str | None, str, str | None], list[DeadLetter]] = {}
    for letter in letters:
        groups.setdefault((letter.task, letter.reason, letter.queue), []).append(letter)
    return [
        {
            "task": task,
            "reason": reason,
            "queue": queue,
            "count": len(group),
            "sent_back": max(letter.sent_back for letter in group),
            "oldest": max((age for letter in group if (age := _age(letter, now)) is not None), default=None),
            "unroutable": sum(letter.returns_to is None for letter in group),
        }
        for (task, reason, queue), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]


def _age(letter: DeadLetter, now: float) -> int | None:
    return None if letter.died is None else max(0, round(now - letter.died))


def exported(message: Message, letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter with all that its message holds, as JSON has it.

    Args:
        message: The message.
        letter: What is known of it.

    Returns:
        One line of an export.
    """
    body = _bytes(message.body)
    try:
        text, encoding = body.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(body).decode(), "base64"
    properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
    return {
        **asdict(letter),
        "routing_key": message.delivery_info["routing_key"],
        "properties": _plain(properties),
        "headers": _plain(message.headers or {}),
        "body_encoding": encoding,
        "body": text,
    }


def _bytes(body: str | bytes | bytearray | memoryview) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON knows
    """Turn what AMQP knows and JSON does not into text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
