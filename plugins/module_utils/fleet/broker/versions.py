"""What differs between versions of RabbitMQ, and which upgrades it supports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..model.plain import plain


def for_broker_version(topology: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Leave out what a broker of this version does not know.

    RabbitMQ takes the policy key ``consumer-timeout`` from 3.12 on (before that, the broker's own
    setting must cover every queue), "no delivery limit" needs no key before 4.0, and before 4.3 no queue
    waits for a consumer whose node is gone.

    Args:
        topology: What ``topology`` returned.
        version: The broker's version, such as ``3.10.8``.

    Returns:
        The topology for this broker.

    Raises:
        ValueError: If the version does not begin with two numbers.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers:
        raise ValueError(f"{version!r} is not a version of RabbitMQ, such as 4.0.5")
    release = (int(numbers[1]), int(numbers[2]))
    topology_data: dict[str, Any] = plain(topology)

    def supported(key: str, value: object) -> bool:
        if key == "consumer-timeout":
            return release >= (3, 12)
        if key == "consumer-disconnected-timeout":
            return release >= (4, 3)
        return not (key == "delivery-limit" and value == -1 and release < (4, 0))

    policies = [
        {
            **policy,
            "definition": {
                key: value for key, value in policy["definition"].items() if supported(key, value)
            },
        }
        for policy in topology_data["policies"]
    ]
    return {**topology_data, "policies": policies}


Series = tuple[int, int]
# The first whose quorum queues the kit needs.
OLDEST: Final[Series] = (3, 10)
# Each series may be followed by these (https://www.rabbitmq.com/docs/upgrade#rabbitmq-version-upgradability).
STEPS: Final[dict[Series, tuple[Series, ...]]] = {
    (3, 8): ((3, 9),),
    (3, 9): ((3, 10),),
    (3, 10): ((3, 11),),
    (3, 11): ((3, 12),),
    (3, 12): ((3, 13),),
    (3, 13): ((4, 0), (4, 1), (4, 2)),
    (4, 0): ((4, 1), (4, 2)),
    (4, 1): ((4, 2),),
    (4, 2): ((4, 3),),
    (4, 3): (),
}

# In these alone a passive declaration, by which workers look after their consumers, needs the right to
# configure the queue: https://github.com/rabbitmq/rabbitmq-server/pull/16085 and 16272.
REFUSED: Final = frozenset({"4.2.6", "4.3.0"})


# From each release on the oldest and the newest Erlang (https://www.rabbitmq.com/docs/which-erlang;
# 29 with 4.3.6 by Debian's changelog).
ERLANG: Final[tuple[tuple[tuple[int, ...], int, int], ...]] = (
    ((3, 10), 23, 25),
    ((3, 11), 25, 25),
    ((3, 12), 25, 26),
    ((3, 13), 26, 26),
    ((4, 0, 4), 26, 27),
    ((4, 2, 9), 27, 27),
    ((4, 3), 26, 27),
    ((4, 3, 3), 27, 27),
    ((4, 3, 6), 27, 29),
)


def upstream(version: str) -> str:
    """Return RabbitMQ's version of a package's version.

    Args:
        version: For example ``3.10.8-1.1+deb12u1`` or ``1:4.0.5-8``.

    Returns:
        The same without epoch and revision.
    """
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return match[1] if match else version


def fault(version: str) -> str:
    """Return why a fleet cannot run on a version of RabbitMQ at all.

    Args:
        version: The version of RabbitMQ or of its package.

    Returns:
        The reason; empty if nothing is against it.
    """
    version = upstream(version)
    if version not in REFUSED:
        return ""
    return (
        f"RabbitMQ {version} lets nobody look at a queue who may not configure it, and workers may not: they "
        "would reconnect every few seconds. Use the next release of its series."
    )


def erlang_fault(version: str, erlang: str) -> str:
    """Return why a version of RabbitMQ does not run on a version of Erlang.

    Args:
        version: That of RabbitMQ or of its package.
        erlang: That of Erlang or of its package.

    Returns:
        The reason; empty if nothing is known against it.
    """
    rabbitmq, numbers = _numbers(upstream(version)), _numbers(upstream(erlang))
    known = [entry for entry in ERLANG if entry[0] <= rabbitmq]
    if not known or not numbers or known[-1][1] <= numbers[0] <= known[-1][2]:
        return ""
    _, oldest, newest = known[-1]
    needed = f"Erlang {oldest}" if oldest == newest else f"Erlang {oldest} to {newest}"
    reason = f"RabbitMQ {upstream(version)} needs {needed}, and gets {numbers[0]}"
    return f"{reason}. Set erlang of broker_package_source."


def refusal(now: str, then: str, erlang: str = "") -> str:
    """Return why a cluster can't go from one version to another one node at a time.

    Args:
        now: The version that runs, of RabbitMQ or of its package.
        then: The one that is to run.
        erlang: The Erlang that it is to run on; empty if it is not known.

    Returns:
        The reason, with the way that there is; empty if nothing is against it.
    """
    now, then = upstream(now), upstream(then)
    step = f"From RabbitMQ {now} to {then}"
    running, target = _numbers(now), _numbers(then)
    if len(running) < 2 or len(target) < 2:
        return f"{step}: these are no versions that the kit can compare."
    if target < running:
        return f"{step}: a node can't read the data of a later version."
    if reason := fault(then) or erlang_fault(then, erlang):
        return f"{step}: {reason}"
    old, new = (running[0], running[1]), (target[0], target[1])
    if old == new or new in STEPS.get(old, ()):
        return ""
    way = _way(old, new)
    if not way:
        return f"{step}: the kit knows of no way that RabbitMQ supports."
    steps = " → ".join(f"{major}.{minor}" for major, minor in way)
    return (
        f"{step}: not supported in one step. Go {steps}, the whole cluster at each step and all stable "
        "feature flags enabled before the next; or build a new cluster and move the queues."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _way(old: Series, new: Series) -> list[Series]:
    """Return the shortest chain of supported steps; empty if there is none."""
    ways = [[old]]
    while ways:
        way = ways.pop(0)
        if way[-1] == new:
            return way
        ways += [[*way, step] for step in STEPS.get(way[-1], ()) if step <= new]
    return []
