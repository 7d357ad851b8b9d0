"""Exact counts of what queues hold, read from the queues themselves.

A queue may be deleted on such counts only. The management API's figures are up to ten seconds old, those of
`rabbitmqctl list_queues` for a quorum queue up to five, and a passive declaration says 0 and 0 of one whose
leader is slow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..text import count
from .api import BrokerError
from .commands import Run

# A quorum queue answers after a majority of its members has confirmed its leader, so the counts are not older
# than the question. Its state is copied and counted in the process of the command, where an error can't harm
# the queue. One that is down, unknown or without a leader has no counts, which is not the same as empty.
_EXPRESSION: Final = """
Quorum = fun(Q) ->
    {ok, State, _} = ra:consistent_query(amqqueue:get_pid(Q), {ra_lib, id, []}, 5000),
    #{num_messages := M, num_ready_messages := R, num_checked_out := U, num_consumers := C}
        = rabbit_fifo:overview(State),
    [M, R, U, C] end,
Other = fun(Q) ->
    [{_, M}, {_, R}, {_, U}, {_, C}]
        = rabbit_amqqueue:info(Q, [messages, messages_ready, messages_unacknowledged, consumers]),
    [M, R, U, C] end,
Count = fun(Name) -> try
    {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(VHOST, queue, Name)),
    case amqqueue:get_type(Q) of rabbit_quorum_queue -> Quorum(Q); _ -> Other(Q) end
    catch _:_ -> null end end,
io:format("~s~n", [rabbit_json:encode([Count(Name) || Name <- [NAMES]])]).
"""


@dataclass(frozen=True)
class Counts:
    """What one queue holds.

    Attributes:
        messages: All messages, also dead letters that wait for room in their own queue.
        ready: Those that wait for a consumer.
        unacknowledged: Those that a consumer has.
        consumers: Consumers, also cancelled ones that still have messages.
    """

    messages: int
    ready: int
    unacknowledged: int
    consumers: int

    @property
    def in_work(self) -> str:
        """What consumers have of it, and that there are some; empty if nobody consumes."""
        return _text((self.unacknowledged, "unacknowledged message"), (self.consumers, "consumer"))

    @property
    def content(self) -> str:
        """The messages that it holds; empty if it holds none."""
        waiting = self.messages - self.ready - self.unacknowledged
        return _text(
            (self.ready, "ready message"),
            (waiting, "waiting dead letter"),
            (self.unacknowledged, "unacknowledged message"),
        )

    @property
    def text(self) -> str:
        """What keeps the queue from being deleted; empty if nothing does."""
        return ", ".join(filter(None, (self.content, _text((self.consumers, "consumer")))))


# The counts of some queues by name; none of a queue that can't be counted now.
Count = Callable[[Collection[str]], dict[str, Counts | None]]


def counter(run: Run, vhost: str) -> Count:
    """Return a function that counts queues by `rabbitmqctl` on a node of the cluster, which needs root.

    Args:
        run: Runs a command.
        vhost: Where the queues are.

    Returns:
        The function, which raises `BrokerError` if the node doesn't answer.
    """

    def count(names: Collection[str]) -> dict[str, Counts | None]:
        if not names:
            return {}
        ordered = sorted(names)
        argv = ["rabbitmqctl", "--quiet", "eval", expression(vhost, ordered)]
        status, printed, errors = run(argv)
        if status != 0:
            raise BrokerError(f"rabbitmqctl could not count the messages of queues: {errors or printed}")
        return dict(zip(ordered, read(printed), strict=True))

    return count


def expression(vhost: str, names: Sequence[str]) -> str:
    """Return the Erlang expression that counts queues.

    Args:
        vhost: Where they are.
        names: Their names.

    Returns:
        The expression, in one line.
    """
    one_line = " ".join(_EXPRESSION.split())
    return one_line.replace("VHOST", _binary(vhost)).replace("NAMES", ", ".join(map(_binary, names)))


def read(printed: str) -> list[Counts | None]:
    """Read what the expression printed.

    Args:
        printed: The output of `rabbitmqctl eval`, which ends with the value of the expression itself.

    Returns:
        The counts in the order of the names.
    """
    answer: list[Any] = json.loads(printed.strip().removesuffix("\nok"))
    return [None if each is None else Counts(*each) for each in answer]


def _binary(text: str) -> str:
    """Write a text as Erlang's bytes, whatever is in it."""
    return f"<<{','.join(map(str, text.encode()))}>>"


def _text(*counts: tuple[int, str]) -> str:
    return ", ".join(count(number, what) for number, what in counts if number)
