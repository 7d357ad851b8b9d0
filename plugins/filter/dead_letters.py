"""Options for `python -m celery_fleet dead-letters`, and its results for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.objects import POLICY_PREFIX
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns, span

# Settings by which a rejected message returns to its exchange instead of being dropped.
WAY_BACK = ("overflow", "dead-letter-exchange", "dead-letter-strategy")


def dead_letters_options(selection: Mapping[str, Any]) -> list[str]:
    """Write a selection as options of the command.

    Args:
        selection: Values by the option's name; a list, or text with commas between

    Returns:
        The options
    """
    options = []
    for name, choice in plain(selection).items():
        values = choice if isinstance(choice, list) else str(choice).split(",")
        options += [f"--{name}={str(item).strip()}" for item in values if str(item).strip()]
    return options


def dead_letters_table(result: Mapping[str, Any], broker: Sequence[Mapping[str, Any]]) -> str:
    """Write what the command listed: each queue, each kind of death, then single letters.

    Args:
        result: The JSON object that `celery_fleet dead-letters list` prints
        broker: The broker's queues with their counts

    Returns:
        Tables, the queues first
    """
    listing = plain(result)
    waiting = _waiting(broker)
    queues = [("dead-letter queue", "dead letters", "selected", "on their way back")]
    queues += [
        (name, str(counts["total"]), str(counts["selected"]), str(waiting.get(name, 0)))
        for name, counts in listing["queues"].items()
    ]
    if not listing["selected"]:
        return "\n".join(columns(queues))
    kinds = [("task", "reason", "died in", "dead letters", "sent back", "oldest", "")]
    kinds += [
        (
            kind["task"] or "?",
            kind["reason"],
            kind["queue"] or "?",
            str(kind["count"]),
            f"{kind['sent_back']}x",
            span(kind["oldest"]),
            f"{kind['unroutable']} lead to no queue" if kind["unroutable"] else "",
        )
        for kind in listing["summary"]
    ]
    letters = [("id", "task", "reason", "died in", "times", "sent back", "age")]
    letters += [
        (
            letter["id"] or "?",
            letter["task"] or "?",
            letter["reason"],
            letter["queue"] or "?",
            str(letter["times"]),
            f"{letter['sent_back']}x",
            span(letter["age"]),
        )
        for letter in listing["letters"]
    ]
    more = listing["selected"] - len(listing["letters"])
    tables = [columns(queues), columns(kinds)] + ([columns(letters)] if listing["letters"] else [])
    text = "\n\n".join("\n".join(table) for table in tables)
    return f"{text}\nand {more} more" if more and listing["letters"] else text


def dead_letters_faults(
    broker: Sequence[Mapping[str, Any]],
    policies: Sequence[Mapping[str, Any]],
    topology: Mapping[str, Any],
    queues: Mapping[str, Any],
) -> list[str]:
    """Find dead-letter queues that would drop what is sent back.

    Args:
        broker: The broker's queues with the name of the policy in force
        policies: The broker's policies, each definition as JSON text
        topology: The desired topology
        queues: The dead-letter queues

    Returns:
        A sentence for each fault
    """
    definitions = {policy["name"]: json.loads(policy["definition"]) for policy in plain(policies)}
    in_force = {queue["name"]: definitions.get(queue["policy"], {}) for queue in plain(broker)}
    desired = {policy["name"]: policy["definition"] for policy in plain(topology)["policies"]}
    faults = []
    for name in plain(queues):
        for key in WAY_BACK:
            should, does = desired[POLICY_PREFIX + name][key], in_force.get(name, {}).get(key)
            if does != should:
                faults.append(
                    f"{name}: {key} is {does!r} instead of {should!r}; run playbooks/broker.yml first"
                )
    return faults


def dead_letters_done(
    result: Mapping[str, Any], action: str, broker: Sequence[Mapping[str, Any]], path: str = ""
) -> str:
    """Write what was done.

    Args:
        result: The JSON object that the command printed
        action: The requested action
        broker: The broker's queues with their counts, afterwards
        path: The file of an export

    Returns:
        A sentence or two
    """
    outcome = plain(result)
    if action == "export":
        return f"{outcome['selected']} dead letters written to {path}"
    if action == "delete":
        return f"{outcome['done']} dead letters deleted"
    waiting = _waiting(broker)
    pending = {name: waiting[name] for name in outcome["queues"] if waiting.get(name)}
    text = f"{outcome['done']} dead letters sent back"
    stayed = outcome["selected"] - outcome["done"]
    if stayed:
        text += f"; {stayed} stay, because their key leads to no queue of the fleet: give dead_letters_to"
    if pending:
        count = ", ".join(f"{number} of {name}" for name, number in pending.items())
        text += f"; still on their way, or waiting for room in their queue: {count}"
    return text


def _waiting(broker: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many messages of each queue the broker is moving: neither ready nor with a consumer."""
    return {
        queue["name"]: queue["messages"] - queue["messages_ready"] - queue["messages_unacknowledged"]
        for queue in plain(broker)
        if isinstance(queue.get("messages"), int)
    }


class FilterModule:
    """Filters of the playbook for dead letters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "dead_letters_options": dead_letters_options,
            "dead_letters_table": dead_letters_table,
            "dead_letters_faults": dead_letters_faults,
            "dead_letters_done": dead_letters_done,
        }
