"""What a run of the move is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from celery_fleet.errors import FleetError


class MoveInError(FleetError):
    """Tasks could not be moved, e.g. because a broker cannot be reached. Nothing is lost: run it again."""


@dataclass(frozen=True)
class Options:
    """What a run is asked for.

    Attributes:
        source: URL of the old broker with its password: redis, rediss, amqp or amqps.
        exchange, queue, user, password: The staging queue, the exchange before it, and who may use both.
        queues: Queues of the fleet by the names of old ones; empty if the router decides. None: all that a
            Redis has.
        prefix: Of the old broker's keys (kombu's `global_keyprefix`).
        ca_file: Certificates by which the old broker is trusted.
        unacked: Whether tasks are taken that workers of the old broker held: yes, no, or auto, if no worker
            is connected.
        rate: Tasks a second; 0 for as many as go.
        seconds: After which the run ends; what is left is for the next one. None: as suits the old broker.
        look: Only count and route.
        routes: The source is a former broker of this fleet: which of its queues go where, as `former.Route`
            has them. Messages are moved as they are.
        nodes: Address and port of each node of the fleet's broker, where its file may still name others.
    """

    source: str
    exchange: str = ""
    queue: str = ""
    user: str = ""
    password: str = ""
    queues: Mapping[str, str] | None = None
    prefix: str = ""
    ca_file: str | None = None
    unacked: str = "auto"
    rate: float = 0
    seconds: float | None = None
    look: bool = False
    routes: Sequence[Mapping[str, Any]] = ()
    nodes: Sequence[tuple[str, int]] = ()


def read_options(text: str) -> Options:
    """Read options from JSON, which is no place that others see.

    Args:
        text: An object with fields of `Options`.

    Returns:
        They.

    Raises:
        MoveInError: It is something else.
    """
    try:
        content = json.loads(text)
        if set(content) - {field.name for field in fields(Options)}:
            raise MoveInError("standard input has options that there are not")
        return Options(**content)
    except (ValueError, TypeError) as error:
        # Without the text, which holds passwords.
        raise MoveInError("standard input must hold the options as JSON") from error
