"""Whether the versions of Celery, kombu and RabbitMQ fit each other and the queues of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..broker.versions import OLDEST, fault, upstream
from ..findings import Findings, show
from ..model.types import Model

Version = tuple[int, int]
# What a distribution's package rabbitmq-server is.
PACKAGED: Final = {
    ("Debian", "12"): "3.10",
    ("Debian", "13"): "4.0",
    ("Ubuntu", "22.04"): "3.9",
    ("Ubuntu", "24.04"): "3.12",
}

VARIABLE: Final = "fleet_app.requirements"
LIBRARIES: Final = ("celery", "kombu")
RESULTS_LIBRARY: Final = "redis"
TESTED: Final[Mapping[str, tuple[Version, ...]]] = {
    "celery": ((5, 5), (5, 6), (5, 7)),
    "kombu": ((5, 5), (5, 6), (5, 7)),
    "rabbitmq": ((3, 10), (4, 0), (4, 3)),
}

# Before this, publishers get around topic permissions, and stop dead-lettering with one message.
GUARDED_BROKER: Final = (4, 0)
# From here on an application can have exclusive queues for control and events.
EXCLUSIVE_LIBRARIES: Final = (5, 6)
# From here on the broker refuses transient queues, and classic ones have no consumer timeout.
STRICT_BROKER: Final = (4, 3)


def packaged(distribution: object, version: object) -> str | None:
    """Return which RabbitMQ a distribution has.

    Args:
        distribution: Its name, such as ``Debian``.
        version: Its version; a point release counts as its release.

    Returns:
        The version of RabbitMQ, or none if it is not known.
    """
    for (name, number), broker in PACKAGED.items():
        if name == distribution and isinstance(version, str) and f"{version}.".startswith(f"{number}."):
            return broker
    return None


def check(
    model: Model,
    libraries: Mapping[str, str] | None,
    lock: str,
    brokers: Mapping[str, str | None],
    findings: Findings,
) -> None:
    """Find versions that do not fit.

    Args:
        model: The fleet.
        libraries: Versions of Celery and kombu as the application pins them; none if they were not read.
        lock: Where they were read, or why they could not be.
        brokers: For each broker host the version of RabbitMQ, none if it is not known.
        findings: Receives what does not fit.
    """
    parsed = {host: _release(upstream(version or "")) for host, version in brokers.items()}
    for host, release in parsed.items():
        if release is None:
            text = "no RabbitMQ of this host's distribution is known"
            findings.add("versions/unknown", "broker_version", brokers[host], text, where=host)
    releases = {host: release for host, release in parsed.items() if release}
    if len(set(releases.values())) > 1:
        listed = ", ".join(f"{host}: {_text(release)}" for host, release in releases.items())
        findings.add("versions/mixed-brokers", "broker_version", listed)
    for host, release in releases.items():
        _check_broker(model, host, brokers[host], release, findings)
    if libraries is not None:
        _check_libraries(model, libraries, lock, releases, findings)


def check_candidate(package: Mapping[str, Any], host: str, findings: Findings) -> None:
    """Find a RabbitMQ of another series that an upgrade of a host's packages would bring.

    Args:
        package: Versions of its package there: ``installed`` and ``candidate``.
        host: The broker's host.
        findings: Receives what is found.
    """
    installed, candidate = (show(package.get(key) or "") for key in ("installed", "candidate"))
    now, then = _release(upstream(installed)), _release(upstream(candidate))
    if now and then and now != then:
        text = f"RabbitMQ {installed} runs, and the host's package sources have {candidate}"
        findings.add("versions/another-series", "broker_package_source", candidate, text, where=host)


def _check_broker(model: Model, host: str, version: str | None, release: Version, findings: Findings) -> None:
    if release not in TESTED["rabbitmq"]:
        text = f"the kit's tests run on RabbitMQ {_texts('rabbitmq')}"
        findings.add("versions/untested", "broker_version", _text(release), text, where=host)
    if reason := fault(str(version)):
        findings.add("versions/refused-broker", "broker_version", version, reason, where=host)
    kinds = {pool.queue_type for pool in model.pools.values()}
    if release < OLDEST and "quorum" in kinds:
        text = f"RabbitMQ {_text(release)} has quorum queues without message TTL and safe dead-lettering"
        findings.add("versions/rabbitmq-too-old", "broker_version", _text(release), text, where=host)
    if release < GUARDED_BROKER:
        held = [pool.name for pool in model.pools.values() if pool.calls is not None]
        text = f"on RabbitMQ {_text(release)} one malformed message can stop all dead-lettering of a node"
        if held:
            text += f", and calls does not hold the tasks of {', '.join(held)}: a header can add copies"
        findings.add("versions/trusting-broker", "broker_version", _text(release), text, where=host)
    if release >= STRICT_BROKER:
        for pool in model.pools.values():
            if pool.queue_type == "classic":
                findings.add(
                    "versions/no-consumer-timeout",
                    pool.variable("queue_type"),
                    pool.queue_type,
                    f"RabbitMQ {_text(release)} has a consumer timeout for quorum queues only",
                )


def _check_libraries(
    model: Model,
    libraries: Mapping[str, str],
    lock: str,
    brokers: Mapping[str, Version],
    findings: Findings,
) -> None:
    strict = {host: release for host, release in brokers.items() if release >= STRICT_BROKER}
    if model.results and libraries and RESULTS_LIBRARY not in libraries:
        findings.add("results/no-library", VARIABLE, f"no {RESULTS_LIBRARY}", where=lock)
    check_libraries(libraries, lock, findings)
    for name in LIBRARIES:
        version = libraries.get(name)
        release = _release(version)
        for host, broker in strict.items():
            if release and release < EXCLUSIVE_LIBRARIES:
                value = f"{name} {version}"
                text = f"{value} declares queues that RabbitMQ {_text(broker)} on {host} refuses"
                findings.add("versions/transient-queues", VARIABLE, value, text, where=lock)


def check_libraries(libraries: Mapping[str, str], lock: str, findings: Findings) -> None:
    """Find versions of Celery and kombu with which no worker starts, or that nobody has tried.

    Args:
        libraries: Their versions as the application pins them.
        lock: Where they were read.
        findings: Receives what does not fit.
    """
    for name in LIBRARIES:
        version = libraries.get(name)
        release = _release(version)
        if release is None:
            findings.add(
                "versions/unknown",
                VARIABLE,
                version,
                f"which {name} the application has is not known: {lock}",
            )
            continue
        value = f"{name} {version}"
        if release < TESTED[name][0]:
            text = f"the package celery_fleet runs with {name} {_texts(name)}, and {version} is older"
            findings.add("versions/celery-too-old", VARIABLE, value, text, where=lock)
        elif release not in TESTED[name]:
            text = f"the kit's tests run with {name} {_texts(name)}"
            findings.add("versions/untested", VARIABLE, value, text, where=lock)


def _release(version: str | None) -> Version | None:
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})", version or "")
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _text(release: Version) -> str:
    return f"{release[0]}.{release[1]}"


def _texts(name: str) -> str:
    *first, last = map(_text, TESTED[name])
    return f"{', '.join(first)} and {last}" if first else last
