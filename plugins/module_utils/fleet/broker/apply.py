"""Apply the desired topology to a broker, and verify the result."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from ..findings import Findings
from .api import BrokerError, Management, RefusedError
from .counts import Count
from .migration import interrupted
from .ownership import FIXED_KINDS, Ownership, check_fleet
from .reconcile import Changes, Difference, Key, State, compare
from .rights import at_broker
from .state import current_state, desired_state, import_document
from .stranded import is_foreign, of_topology, sentence
from .versions import fault, for_broker_version

# What leads to an object is removed before the object.
_REMOVAL_ORDER: Final = ("topic_permission", "binding", "exchange", "policy", "permission", "user")
# Until a message that was routed to a queue is in it.
ARRIVAL_S: Final = 2
# How long a node of a cluster may take to know what another one stored.
_SETTLE_S: Final = 5


class TopologyReconciler:
    """The desired topology, and the broker that should have it.

    Attributes:
        version: The broker's version, once its definitions were read.
        dropped: Settings of policies that this version does not know.
        surplus: Objects that the model had once, and why they stay.
        migrations: Queues whose migration was interrupted.
    """

    def __init__(
        self,
        topology: Mapping[str, Any],
        passwords: Mapping[str, str],
        broker: Management,
        count: Count,
        *,
        prune: bool = False,
        arrival_s: int = ARRIVAL_S,
    ) -> None:
        """Store the desired topology and the way to the broker.

        Args:
            topology: The desired topology, as ``topology.topology`` returns it.
            passwords: Password of each of its users.
            broker: The broker's management API.
            count: Counts what queues hold; needed if surplus objects are removed.
            prune: Whether surplus objects are removed as soon as they are empty and unused.
            arrival_s: Seconds until a message that was routed to a queue is counted in it.
        """
        self._arrival_s = arrival_s
        prefix = topology.get("user_prefix", "")
        self._desired = at_broker(topology)
        self._passwords = {f"{prefix}{name}": password for name, password in passwords.items()}
        self._prune = prune
        self._broker = broker
        self._count = count
        self._vhost: str = topology["vhost"]
        self._state: State = {}
        self._refused: dict[str, str] = {}
        self.version: str | None = None
        self.dropped: set[str] = set()
        self.surplus: list[str] = []
        self.migrations: list[str] = []

    def without_passwords(self) -> list[str]:
        """Return the users for whom no password is given."""
        return sorted({user["name"] for user in self._desired["users"]} - self._passwords.keys())

    def compare(self, definitions: Mapping[str, Any]) -> Changes:
        """Compare the broker's definitions with the desired topology.

        Args:
            definitions: What the broker has; empty if there is no broker yet.

        Returns:
            What is to be created, changed and removed, and what cannot be changed in place.

        Raises:
            BrokerError: The broker is of a version that no fleet can run on, or can't be asked which surplus
                queues are in use.
        """
        self.version = definitions.get("rabbitmq_version")
        if self.version and (reason := fault(self.version)):
            raise BrokerError(reason)
        desired = for_broker_version(self._desired, self.version) if self.version else self._desired
        self.dropped = _policy_keys(self._desired) - _policy_keys(desired)
        self._state = current_state(definitions, desired, self._passwords)
        ownership = Ownership(desired, self._state)
        queues = {key[1] for key in ownership.surplus if key[0] == "queue"}
        if self._prune:
            ownership = Ownership(desired, self._state, self._refused | self._in_use(queues))
        self.surplus = [
            " ".join(key) + (f" ({ownership.reasons[key]})" if key in ownership.reasons else "")
            for key in sorted(ownership.surplus)
            if not ownership.removable(key)
        ]
        self.migrations = sorted(interrupted(definitions, self._vhost))
        made = compare(
            self._state,
            desired_state(desired, self._state),
            fixed=FIXED_KINDS,
            removable=ownership.removable,
        )
        return replace(made, unmanaged=tuple(key for key in made.unmanaged if key not in ownership.surplus))

    def check_fleet(self, findings: Findings) -> None:
        """Find out whether another fleet has the vhost, once the broker's definitions were compared.

        Args:
            findings: Receives the name of the other one.
        """
        check_fleet(self._state, self._desired, findings)

    def stranded(self) -> list[str]:
        """Return a sentence for each queue that the model lacks and that holds messages.

        Raises:
            BrokerError: The broker can't be asked what they hold.
        """
        queues, dead = of_topology(self._desired)
        names = {key[1] for key in self._state if key[0] == "queue" and is_foreign(key[1], queues, dead)}
        counts = self._count(names) if names else {}
        return [
            sentence(name, held.content, queues)
            for name, held in sorted(counts.items())
            if held is not None and held.messages
        ]

    def apply(self, todo: Changes) -> Changes:
        """Apply changes and return what still differs after them, normally nothing.

        Once queues are removed the rest is compared again: a queue that came into use at the last moment
        stays with all that it needs, and the record of the fleet's objects loses one only when it is gone.
        Differences get a few seconds, because a node may not yet know what another one stored.

        Args:
            todo: What ``compare`` returned.

        Returns:
            What still differs.

        Raises:
            BrokerError: The broker can't be reached, or refuses a change.
        """
        end = time.monotonic() + _SETTLE_S
        while True:
            self._one_round(todo)
            remaining = self.compare(self._broker.definitions())
            if remaining.empty or (remaining == todo and time.monotonic() > end):
                return remaining
            if remaining == todo:
                time.sleep(1)
            todo = remaining

    def _one_round(self, todo: Changes) -> None:
        going = [each.key for each in todo.remove]
        queues = [key for key in going if key[0] == "queue"]
        if queues:
            # What leads to them goes first, the rest in the next round.
            going = [key for key in going if key[0] == "binding" and ("queue", key[3]) in queues]
        for user in sorted({key[1] for key in going if key[0] == "topic_permission"}):
            self._broker.remove(("topic_permission", user), self._vhost)
        document = import_document(
            [*todo.create, *todo.change, *self._kept_topic_permissions(going)],
            self._vhost,
            self._passwords,
            os.urandom,
        )
        if document:
            self._broker.load(document)
        for key in sorted(going, key=lambda key: _REMOVAL_ORDER.index(key[0])):
            if key[0] == "exchange":
                self._try(key, "if-unused=true")
            elif key[0] != "topic_permission":
                self._broker.remove(key, self._vhost)
        self._remove_queues(queues)

    def _kept_topic_permissions(self, going: list[Key]) -> list[Difference]:
        """Return the topic permissions that must be written again: all of a user's are removed together."""
        users = {key[1] for key in going if key[0] == "topic_permission"}
        return [
            Difference(key, None, attributes)
            for key, attributes in self._state.items()
            if key[0] == "topic_permission" and key[1] in users and key not in going
        ]

    def _remove_queues(self, queues: list[Key]) -> None:
        """Remove queues that are empty and unused.

        The broker checks that itself for a classic queue, and can't for the other types. Nothing is routed to
        these any more, so counts of a moment later are final.
        """
        classic = [key for key in queues if self._state[key]["arguments"]["x-queue-type"] == "classic"]
        others = {key[1] for key in queues} - {key[1] for key in classic}
        for key in classic:
            self._try(key, "if-empty=true&if-unused=true")
        if others:
            time.sleep(self._arrival_s)
            for name in sorted(others - self._in_use(others).keys()):
                self._broker.remove(("queue", name), self._vhost)

    def _in_use(self, queues: Collection[str]) -> dict[str, str]:
        """Return which of some queues hold messages or are consumed, and the counts in words."""
        counts = self._count(queues)
        texts = {name: "can't be counted now" if held is None else held.text for name, held in counts.items()}
        return {name: text for name, text in texts.items() if text}

    def _try(self, key: Key, conditions: str) -> None:
        try:
            self._broker.remove(key, self._vhost, conditions)
        except RefusedError as refusal:
            if key[0] != "queue":
                raise
            self._refused[key[1]] = str(refusal)


def _policy_keys(topology: Mapping[str, Any]) -> set[str]:
    """Return every setting of every policy, in words."""
    return {f"{key} of {policy['name']}" for policy in topology["policies"] for key in policy["definition"]}
