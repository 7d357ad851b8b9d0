"""What at a broker is the fleet's own, and what of it may go when the model has it no more.

The broker itself remembers what is ours: the kit's users carry a tag, and a global parameter (the record)
names the exchanges and queues that the model has, or had and that still exist. Both are part of the
definitions, so that they cost no request. A policy's name has a prefix; bindings, permissions and topic
permissions belong to the objects that they connect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from .objects import POLICY_PREFIX
from .reconcile import Attributes, Key, State

FIXED_KINDS: Final = frozenset({"exchange", "queue"})
GUEST: Final[Key] = ("user", "guest")
# The tag of every user that the kit made; it means nothing to RabbitMQ.
OWNER: Final = "celery_fleet"


def record_key(vhost: str) -> Key:
    """Where a broker remembers which exchanges and queues of a vhost are ours.

    Args:
        vhost: The fleet's vhost.

    Returns:
        The key of a global parameter.
    """
    return ("global_parameter", f"{OWNER}.{vhost}")


def record(keys: Set[Key]) -> Attributes:
    """The value of the record for these exchanges and queues.

    Args:
        keys: Keys of any kind.

    Returns:
        Sorted names by kind.
    """
    return {f"{kind}s": sorted(key[1] for key in keys if key[0] == kind) for kind in sorted(FIXED_KINDS)}


def recorded(state: State, vhost: str) -> set[Key]:
    """The exchanges and queues that a broker knows as ours and that exist.

    Args:
        state: What the broker has.
        vhost: The fleet's vhost.

    Returns:
        Their keys.
    """
    names = state.get(record_key(vhost), {})
    known: set[Key] = {(kind, name) for kind in FIXED_KINDS for name in names.get(f"{kind}s", ())}
    return known & state.keys()


class Ownership:
    """What is ours in a state of a broker, and what of it may be removed.

    Attributes:
        surplus: Our exchanges, queues and users that the model has no more.
        reasons: Why those of them that may not be removed have to stay; empty unless pruning was asked for.
    """

    def __init__(
        self, topology: Mapping[str, Any], state: State, in_use: Mapping[str, str] | None = None
    ) -> None:
        """Find the surplus objects, and follow what the messages in them may still need.

        Args:
            topology: The topology that the model wants.
            state: What the broker has.
            in_use: Pruning was asked for, and these surplus queues hold messages or are consumed (a text for
                each); None if it was not.
        """
        self._state = state
        self._asked = in_use is not None
        self._users = {user["name"] for user in topology["users"]}
        self._wanted: set[Key] = {
            (kind, each["name"]) for kind in FIXED_KINDS for each in topology[f"{kind}s"]
        }
        mine = recorded(state, topology["vhost"])
        self._surplus_users = {
            key for key in state if key[0] == "user" and key[1] not in self._users and key != GUEST
        }
        self._surplus = mine - self._wanted
        self._ours = mine | self._wanted
        self.surplus: set[Key] = self._surplus | self._surplus_users
        self.reasons: dict[Key, str] = {}
        if in_use is not None:
            self.reasons = {
                key: in_use[key[1]] for key in self._surplus if key[0] == "queue" and key[1] in in_use
            }
            self._keep_what_they_need()

    def removable(self, key: Key) -> bool:
        """Return whether an object that the model doesn't have may be removed.

        Args:
            key: The object's key.

        Returns:
            True for `guest`, for bindings and policies left over between objects of the model, and, if
            pruning was asked for, for what is ours, empty and unused.
        """
        kind, name = key[:2]
        if kind == "binding":
            ends = self._ends(key)
            stale = self._wanted.issuperset(ends)
            return stale or (self._ours.issuperset(ends) and any(self._may_go(end) for end in ends))
        if kind == "policy":
            queue = ("queue", name.removeprefix(POLICY_PREFIX))
            return name.startswith(POLICY_PREFIX) and (queue not in self._surplus or self._may_go(queue))
        if kind in ("permission", "topic_permission"):
            wanted = kind == "topic_permission" and name in self._users
            return wanted or self._may_go(("user", name))
        return key == GUEST or self._may_go(key)

    def _may_go(self, key: Key) -> bool:
        return self._asked and key in self.surplus and key not in self.reasons

    def _keep_what_they_need(self) -> None:
        """Keep where the messages of a kept queue may go, what others use, and what leads to either."""
        bindings = [self._ends(key) for key in self._state if key[0] == "binding"]
        for source, destination in bindings:
            if destination in self._surplus and source not in self._ours:
                self.reasons.setdefault(destination, f"bound to {' '.join(source)}, which isn't ours")
        left = list(self.reasons)
        while left:
            key = left.pop()
            targets = [end for source, end in bindings if source == key]
            for target in [*targets, *self._dead_letters(key)]:
                if target in self._surplus and target not in self.reasons:
                    self.reasons[target] = f"{' '.join(key)} leads to it"
                    left.append(target)
        found = True
        while found:
            found = False
            for source, destination in bindings:
                stays = destination in self.reasons or destination not in self._ours
                if stays and source in self._surplus and source not in self.reasons:
                    self.reasons[source] = f"{' '.join(destination)} is bound to it"
                    found = True

    def _dead_letters(self, key: Key) -> Iterator[Key]:
        """The exchange that a queue dead-letters to, by its argument and by its policy."""
        arguments = self._state[key].get("arguments", {})
        limits = self._state.get(("policy", f"{POLICY_PREFIX}{key[1]}"), {}).get("definition", {})
        for name in (arguments.get("x-dead-letter-exchange"), limits.get("dead-letter-exchange")):
            if key[0] == "queue" and name:
                yield ("exchange", name)

    @staticmethod
    def _ends(binding: Key) -> tuple[Key, Key]:
        _, source, kind, destination, *_ = binding
        return ("exchange", source), (kind, destination)
