"""The state of one node, read in one call of `rabbitmqctl eval`: every call takes half a second."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

# Functions that only some versions have are tried in order: 3.10 and 4.0 name them differently. What a node
# without its broker (`rabbitmqctl stop_app`) can't say is null.
_EXPRESSION: Final = """
Try = fun(Funs) -> lists:foldl(fun(F, undefined) -> try F() catch _:_ -> undefined end; (_, X) -> X end,
                               undefined, Funs) end,
Or = fun(undefined) -> null; (X) -> X end,
Flags = fun() -> [proplists:get_value(name, F) || F <- rabbit_ff_extra:cli_info(),
    proplists:get_value(stability, F) =:= stable, proplists:get_value(state, F) =:= disabled] end,
Queues = fun() -> [#{vhost => V, name => N, members => M, leader => Or(L)}
    || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue,
    {resource, V, queue, N} <- [amqqueue:get_name(Q)],
    [{members, M}, {leader, L}] <- [rabbit_amqqueue:info(Q, [members, leader])]] end,
Counts = fun() -> [length(rabbit_amqqueue:list()), length(rabbit_vhost:list_names()),
    length(rabbit_auth_backend_internal:list_users())] end,
Timeout = fun() -> {ok, T} = application:get_env(rabbit, consumer_timeout), T end,
io:format("~s~n", [rabbit_json:encode(#{
    node => node(), running => rabbit:is_running(), booting => rabbit:is_booting(),
    maintenance => Or(Try([fun() -> rabbit_maintenance:status_local_read(node()) =/= regular end])),
    known => Or(Try([fun() -> rabbit_nodes:list_members() end,
                     fun() -> rabbit_mnesia:cluster_nodes(all) end])),
    running_nodes => Or(Try([fun() -> rabbit_nodes:list_running() end,
                             fun() -> rabbit_nodes:all_running() end])),
    counts => Or(Try([Counts])), consumer_timeout => Or(Try([Timeout])), disabled_flags => Or(Try([Flags])),
    queues => Or(Try([Queues])),
    addresses => [list_to_binary(inet:ntoa(A)) || N <- NAMES, {ok, A} <- [inet:getaddr(N, inet)]]})]).
"""


# Erlang's arguments of a node that speaks TLS with others, and of one that speaks with none.
_TLS: Final = "inet_tls"
_ALONE: Final = "inet_dist_use_interface"


def expression(names: Sequence[str]) -> str:
    """Return the Erlang expression that reads a node's whole state.

    Args:
        names: Host names of the cluster's nodes, whose addresses the node is asked for.

    Returns:
        The expression, in one line.
    """
    return " ".join(_EXPRESSION.replace("NAMES", json.dumps(list(names))).split())


def read(printed: str) -> dict[str, Any]:
    """Read what the expression printed.

    Args:
        printed: The output of `rabbitmqctl eval`, which ends with the value of the expression itself.

    Returns:
        The node's answer, lists of nodes sorted.
    """
    answer: dict[str, Any] = json.loads(printed.strip().removesuffix("\nok"))
    for key in ("known", "running_nodes"):
        answer[key] = sorted(answer[key] or [])
    answer["disabled_flags"] = sorted(answer["disabled_flags"] or [])
    return answer


def internode_tls(arguments: str) -> bool | None:
    """Return whether a node speaks TLS with the other nodes of its cluster.

    Args:
        arguments: The command line of its process, or of one that does not run the file with its settings.

    Returns:
        None of a node that is new, or alone: it may begin with either.
    """
    return None if not arguments or _ALONE in arguments else _TLS in arguments


def uneven(queues: Iterable[Mapping[str, Any]] | None, vhost: str, nodes: Iterable[str]) -> bool:
    """Return whether quorum queues lack a member on a node, or one node leads more than its share of them.

    Args:
        queues: The quorum queues, each with ``vhost``, ``members`` and ``leader``.
        vhost: The virtual host that matters.
        nodes: The nodes that should have a member of each.
    """
    members, fleet_queues = set(nodes), [queue for queue in queues or () if queue["vhost"] == vhost]
    if any(members - set(queue["members"]) for queue in fleet_queues):
        return True
    return overloaded(Counter(queue["leader"] for queue in fleet_queues), len(fleet_queues), members)


def overloaded(leaders: Mapping[str, int], queues: int, nodes: Collection[str]) -> bool:
    """Return whether a node leads more queues than its share.

    The share is rounded up, as RabbitMQ's ``rebalance`` does: it leaves 43 queues of three nodes as 15, 15
    and 13, so a stricter rule would move leaders in every run.

    Args:
        leaders: Number of queues that each node leads.
        queues: Number of all queues.
        nodes: The nodes that may lead.
    """
    return any(leaders.get(node, 0) > math.ceil(queues / len(nodes)) for node in nodes)
