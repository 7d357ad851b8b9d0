"""What a broker that the kit does not install lets the fleet do, found before anything is changed there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ..findings import Findings
from .api import Management, RefusedError
from .counts import Count, Counts
from .ownership import OWNER
from .rights import at_broker
from .versions import OLDEST, fault

ADMINISTRATOR: Final = "administrator"
# Each lets a user set policies in the vhosts that it may use.
POLICY_TAGS: Final = frozenset({"policymaker", ADMINISTRATOR})
# What the administrator of a cluster types, where a service has no page for it.
_TAG: Final = "rabbitmqctl set_user_tags {user} administrator"

# Until a message that was routed to a queue is in the management API's figures, of ten seconds ago at most.
ARRIVAL_S: Final = 15


def counter(broker: Management, vhost: str) -> Count:
    """Return a function that counts what queues hold, by the management API.

    Whether a message waits is read from the queue itself, the rest is up to ten seconds old. Of a queue to
    which nothing is routed for `ARRIVAL_S`, that is exact.

    Args:
        broker: The management API.
        vhost: Where the queues are.

    Returns:
        The function, which raises `BrokerError` if the broker doesn't answer.
    """

    def count(names: Collection[str]) -> dict[str, Counts | None]:
        return {name: _counts(broker, vhost, name) for name in sorted(names)}

    return count


def _counts(broker: Management, vhost: str, name: str) -> Counts | None:
    try:
        figures = broker.queue(vhost, name)
        fields = ("messages", "messages_ready", "messages_unacknowledged", "consumers")
        # A queue without a leader has old figures, and a new one none yet.
        if figures.get("state") != "running" or not figures.keys() >= {*fields}:
            return None
        counts = Counts(*(int(figures[field]) for field in fields))
        if not counts.text and broker.has_ready(vhost, name):
            return Counts(1, 1, 0, 0)
    except RefusedError:
        return None
    return counts


def timeout_note(version: str | None, timeout_ms: int) -> str:
    """Say what a broker must be set to that knows no consumer timeout by policy.

    Args:
        version: The broker's version.
        timeout_ms: The longest that a queue of the fleet needs.
    """
    return (
        f"RabbitMQ {version} takes no consumer timeout from a policy: have consumer_timeout of the broker "
        f"itself set to {timeout_ms} at least, or it ends connections of workers whose tasks run longer"
    )


def check(broker: Management, user: str, topology: Mapping[str, Any]) -> tuple[Findings, list[str]]:
    """Find everything that the broker forbids and the fleet needs.

    Args:
        broker: Its management API, as whom the kit works.
        user: The name of that user.
        topology: What ``topology`` returned.

    Returns:
        What refuses the fleet; and sentences about what is only to be known.

    Raises:
        BrokerError: The broker can't be reached, or does not let the user in at all.
    """
    findings = Findings()
    tags = broker.tags()
    _check_version(broker.version(), findings)
    if ADMINISTRATOR not in tags:
        _forbid(broker, user, tags, topology["vhost"], findings)
        return findings, []
    definitions = broker.definitions()
    taken(definitions, topology, findings)
    _check_limits(broker.vhost_limits(topology["vhost"]), topology, findings)
    _check_features(broker.feature_flags(), topology, findings)
    return findings, overruled(broker.operator_policies(topology["vhost"]), topology)


def _check_version(version: str, findings: Findings) -> None:
    release = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if release < OLDEST:
        reason = f"it is RabbitMQ {version}, and the kit's queues need {'.'.join(map(str, OLDEST))} at least"
        findings.add("broker/forbidden", "fleet_broker.api", "version", reason, "ask for a newer version")
    elif reason := fault(version):
        findings.add("broker/forbidden", "fleet_broker.api", "version", reason, "ask for another version")


def _forbid(broker: Management, user: str, tags: Iterable[str], vhost: str, findings: Findings) -> None:
    """Name all that a user without the tag `administrator` may not do."""
    tag = f"have the user tagged: {_TAG.format(user=user)}"
    needs: list[tuple[str, str, str]] = [
        (
            "users",
            "it may not make users and set their passwords, and each pool has one of its own",
            f"{tag}; a service that gives nobody this tag, such as a plan that several customers share, "
            "cannot hold a fleet",
        ),
        ("rights", "it may not give users their rights in the virtual host", tag),
        (
            "definitions",
            "it may not read what the broker has, so no run could tell what is missing there",
            tag,
        ),
    ]
    if not POLICY_TAGS.intersection(tags):
        needs.append(("policies", "it may not set policies: every limit of a queue is one", tag))
    if vhost not in broker.vhosts():
        reason = f"it has no virtual host {vhost}, and may not make one"
        remedy = f"{tag}; or have the virtual host made, with all rights in it for {user}"
        needs.append(("virtual host", reason, remedy))
    has = ", ".join(tags) or "none"
    for what, reason, remedy in needs:
        text = f"the user {user} lacks the tag {ADMINISTRATOR} (it has {has}): {reason}"
        findings.add("broker/forbidden", "fleet_broker.administrator", what, text, remedy)


def taken(definitions: Mapping[str, Any], topology: Mapping[str, Any], findings: Findings) -> None:
    """Find users of the fleet's names that are somebody else's.

    Args:
        definitions: What the broker has.
        topology: What ``topology`` returned.
        findings: Receives what is taken.
    """
    vhosts: dict[str, set[str]] = {}
    for each in definitions.get("permissions", ()):
        vhosts.setdefault(each["user"], set()).add(each["vhost"])
    own = {user["name"] for user in at_broker(topology)["users"]}
    for user in definitions.get("users", ()):
        name = user["name"]
        if name not in own:
            continue
        elsewhere = sorted(vhosts.get(name, set()) - {topology["vhost"]})
        if OWNER not in user["tags"]:
            reason = f"the broker has a user {name} that the kit did not make"
        elif elsewhere:
            reason = f"the user {name} is of another fleet: it has rights in {', '.join(elsewhere)}"
        else:
            continue
        findings.add("broker/taken-user", "fleet_broker.user_prefix", name, reason)


def _check_limits(limits: Mapping[str, int], topology: Mapping[str, Any], findings: Findings) -> None:
    queues, most = len(topology["queues"]), limits.get("max-queues", -1)
    if 0 <= most < queues:
        reason = f"the virtual host may have {most} queues, and the fleet has {queues}"
        remedy = (
            f"have its limit max-queues raised to more than {queues}: workers have queues of their own, too"
        )
        findings.add("broker/forbidden", "fleet_broker.vhost", "max-queues", reason, remedy)
    if limits.get("max-connections") == 0:
        reason = "the virtual host may have no connections"
        findings.add("broker/forbidden", "fleet_broker.vhost", "max-connections", reason)


def _check_features(flags: Mapping[str, str], topology: Mapping[str, Any], findings: Findings) -> None:
    quorum = [each for each in topology["queues"] if each["arguments"]["x-queue-type"] == "quorum"]
    if quorum and flags.get("quorum_queue") == "disabled":
        reason = "its feature flag quorum_queue is disabled, so it has no quorum queues"
        remedy = "have it enabled: rabbitmqctl enable_feature_flag quorum_queue"
        findings.add("broker/forbidden", "fleet_broker.api", "quorum_queue", reason, remedy)


def overruled(policies: Iterable[Mapping[str, Any]], topology: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each operator policy that applies to a queue of the fleet.

    Args:
        policies: Those of the virtual host.
        topology: What ``topology`` returned.
    """
    names = [each["name"] for each in topology["queues"]]
    return [
        f"The operator policy {policy['name']} of the broker also limits queues of the fleet: "
        + ", ".join(f"{key} {value}" for key, value in sorted(policy["definition"].items()))
        for policy in policies
        if policy.get("apply-to", "all") in ("all", "queues", "quorum_queues", "classic_queues")
        and any(_matches(policy["pattern"], name) for name in names)
    ]


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # Erlang's expressions know more
        return False
