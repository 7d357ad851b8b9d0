"""Which objects of a broker are the fleet's, and which may be removed once the model no longer has them.

The broker itself stores what is the fleet's: the kit's users carry a tag, and a global parameter (the record)
names the exchanges and queues that the model has, or had and that still exist. Both are part of the
definitions, so that they cost no request. A policy's name has a prefix; bindings, permissions and topic
permissions belong to the objects that they connect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from ..findings import Findings
from ..host.names import FLEET
from .migration import overlap
from .objects import POLICY_PREFIX
from .reconcile import Attributes, Key, State

FIXED_KINDS: Final = frozenset({"exchange", "queue"})
GUEST: Final[Key] = ("user", "guest")
# The tag of every user that the kit made; it means nothing to RabbitMQ.
OWNER: Final = "celery_fleet"


def record_key(vhost: str) -> Key:
    """Return the key under which a broker records the fleet's exchanges and queues of a vhost.

    Args:
        vhost: The fleet's vhost.

    Returns:
        The key of a global parameter.
    """
    return ("global_parameter", f"{OWNER}.{vhost}")


def record(keys: Set[Key], fleet: str = FLEET, secrets: str = "") -> Attributes:
    """Return the value of the record for these exchanges and queues.

    Args:
        keys: Keys of any kind.
        fleet: Name of the fleet.
        secrets: Hash of the id of its file of secrets, if the broker is to know it.

    Returns:
        Sorted names by kind, the name of a fleet that has one of its own, and the hash.
    """
    names = {f"{kind}s": sorted(key[1] for key in keys if key[0] == kind) for kind in sorted(FIXED_KINDS)}
    told = {"fleet": "" if fleet == FLEET else fleet, "secrets": secrets}
    return {name: value for name, value in told.items() if value} | names


def recorded(state: State, vhost: str) -> set[Key]:
    """Return the exchanges and queues that the broker's record names and that exist.

    Args:
        state: What the broker has.
        vhost: The fleet's vhost.

    Returns:
        Their keys.
    """
    names = state.get(record_key(vhost), {})
    objects: set[Key] = {(kind, name) for kind in FIXED_KINDS for name in names.get(f"{kind}s", ())}
    return objects & state.keys()


def check_fleet(state: State, topology: Mapping[str, Any], findings: Findings) -> None:
    """Find out whether another fleet has the vhost.

    Args:
        state: What the broker has.
        topology: The desired topology, with the site's ``fleet`` and the hash of its file of ``secrets``.
        findings: Receives what tells that it does.
    """
    vhost, fleet = topology["vhost"], topology.get("fleet", FLEET)
    found = state.get(record_key(vhost), {"fleet": fleet})
    if (owner := found.get("fleet", FLEET)) != fleet:
        reason = f"its queues are those of the fleet {owner}, and this is a site of the fleet {fleet}"
        findings.add("broker/another-fleet", "fleet_broker.vhost", vhost, reason)
    secrets = topology.get("secrets")
    if secrets and found.get("secrets", secrets) != secrets:
        reason = "its users have the passwords of another file of secrets"
        findings.add("broker/another-file", "fleet_broker.vhost", vhost, reason)


class Ownership:
    """The fleet's objects in a state of a broker, and which of them may be removed.

    Attributes:
        surplus: The fleet's exchanges, queues and users that the model no longer has.
        reasons: Why those of them that may not be removed have to stay; empty without pruning.
    """

    def __init__(
        self, topology: Mapping[str, Any], state: State, in_use: Mapping[str, str] | None = None
    ) -> None:
        """Find the surplus objects, and follow what the messages in them may still need.

        Args:
            topology: The desired topology.
            state: What the broker has.
            in_use: With pruning, the surplus queues that hold messages or have consumers (a text for each);
                None without pruning.
        """
        self._state = state
        self._prune = in_use is not None
        self._users = {user["name"] for user in topology["users"]}
        self._desired: set[Key] = {
            (kind, each["name"]) for kind in FIXED_KINDS for each in topology[f"{kind}s"]
        }
        self._keys: dict[str, list[str]] = {}
        for each in topology.get("bindings", ()):
            self._keys.setdefault(each["source"], []).append(each["routing_key"])
        recorded_keys = recorded(state, topology["vhost"])
        self._surplus_users = {
            key for key in state if key[0] == "user" and key[1] not in self._users and key != GUEST
        }
        self._surplus = recorded_keys - self._desired
        self._own = recorded_keys | self._desired
        self.surplus: set[Key] = self._surplus | self._surplus_users
        self.reasons: dict[Key, str] = {}
        if in_use is not None:
            self.reasons = {
                key: in_use[key[1]] for key in self._surplus if key[0] == "queue" and key[1] in in_use
            }
            self._keep_what_is_needed()

    def removable(self, key: Key) -> bool:
        """Return whether an object that the model doesn't have may be removed.

        Args:
            key: The object's key.

        Returns:
            True for `guest`, for bindings and policies left over between objects of the model, for bindings
            that copy to a surplus object what one of the model gets, and, if pruning was asked for, for what
            is the fleet's, empty and unused.
        """
        kind, name = key[:2]
        if kind == "binding":
            ends = self._ends(key)
            stale = self._desired.issuperset(ends) or self._copies(key)
            return stale or (self._own.issuperset(ends) and any(self._may_go(end) for end in ends))
        if kind == "policy":
            queue = ("queue", name.removeprefix(POLICY_PREFIX))
            return name.startswith(POLICY_PREFIX) and (queue not in self._surplus or self._may_go(queue))
        if kind in ("permission", "topic_permission"):
            # An exchange that stays may still lead to the scheduler's notes, which not everybody may write.
            stays = ("exchange", key[-1]) in self._surplus and not self._may_go(("exchange", key[-1]))
            stale_right = kind == "topic_permission" and name in self._users and not stays
            return stale_right or self._may_go(("user", name))
        return key == GUEST or self._may_go(key)

    def _copies(self, key: Key) -> bool:
        """Return whether a binding gives a surplus queue copies of what a queue of the model gets.

        That is so when a queue, or a pool with its exchange, was renamed and kept its keys. The copies would
        be tasks that run twice if somebody moved them, and a full surplus queue would refuse publishers.
        """
        source, destination = self._ends(key)
        if source not in self._desired or destination not in self._surplus:
            return False
        kind = self._state.get(source, {}).get("type", "topic")
        return any(overlap(kind, key[4], own) for own in self._keys.get(source[1], ()))

    def _may_go(self, key: Key) -> bool:
        return self._prune and key in self.surplus and key not in self.reasons

    def _keep_what_is_needed(self) -> None:
        """Keep where the messages of a kept queue may go, what others use, and what leads to either."""
        bindings = [self._ends(key) for key in self._state if key[0] == "binding"]
        for source, destination in bindings:
            if destination in self._surplus and source not in self._own:
                self.reasons.setdefault(destination, f"bound to {' '.join(source)}, which isn't the fleet's")
        pending = list(self.reasons)
        while pending:
            key = pending.pop()
            targets = [end for source, end in bindings if source == key]
            for target in [*targets, *self._dead_letters(key)]:
                if target in self._surplus and target not in self.reasons:
                    self.reasons[target] = f"{' '.join(key)} leads to it"
                    pending.append(target)
        grown = True
        while grown:
            grown = False
            for source, destination in bindings:
                stays = destination in self.reasons or destination not in self._own
                if stays and source in self._surplus and source not in self.reasons:
                    self.reasons[source] = f"{' '.join(destination)} is bound to it"
                    grown = True

    def _dead_letters(self, key: Key) -> Iterator[Key]:
        """Yield the exchanges that a queue dead-letters to, by its argument and by its policy."""
        arguments = self._state[key].get("arguments", {})
        limits = self._state.get(("policy", f"{POLICY_PREFIX}{key[1]}"), {}).get("definition", {})
        for name in (arguments.get("x-dead-letter-exchange"), limits.get("dead-letter-exchange")):
            if key[0] == "queue" and name:
                yield ("exchange", name)

    @staticmethod
    def _ends(binding: Key) -> tuple[Key, Key]:
        _, source, kind, destination, *_ = binding
        return ("exchange", source), (kind, destination)
