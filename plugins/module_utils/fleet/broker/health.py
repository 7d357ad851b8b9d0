"""What the nodes of a RabbitMQ cluster report, and whether one of them may be stopped now.

One call of `rabbitmqctl eval` reads the state of the cluster and the Raft status of all members of quorum
queues: each call takes about a second, and RabbitMQ's own command for the latter needs one for each queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..text import some

# Functions that only some versions have are tried in order, as in node.py. A value that is neither a number
# nor an atom, such as the reason why a member does not answer, becomes text. 4.0.5 itself fails while a
# member is being started; then nothing is known of the queue's members but where they are.
_EXPRESSION: Final = """
Try = fun(Funs) -> lists:foldl(fun(F, undefined) -> try F() catch _:_ -> undefined end; (_, X) -> X end,
                               undefined, Funs) end,
Text = fun(X) -> iolist_to_binary(io_lib:format("~p", [X])) end,
Running = Try([fun() -> rabbit_nodes:list_running() end, fun() -> rabbit_nodes:all_running() end]),
Partitions = Try([fun() -> rabbit_node_monitor:partitions(Running) end, fun() -> [] end]),
io:format("~s~n", [rabbit_json:encode(#{
    node => node(), version => list_to_binary(rabbit_misc:version()), running => Running,
    known => Try([fun() -> rabbit_nodes:list_members() end, fun() -> rabbit_mnesia:cluster_nodes(all) end]),
    maintenance => [N || N <- Running, rabbit_maintenance:status_consistent_read(N) =/= regular],
    alarms => [case A of {{resource_limit, R, N}, _} -> #{resource => R, node => N}; {X, _} -> Text(X) end
               || A <- rabbit_alarm:get_alarms()],
    partitions => maps:from_list([{N, Others} || {N, Others} <- Partitions, Others =/= []]),
    queues => [#{vhost => V, name => N, members => [
            maps:from_list([{K, if is_atom(X); is_integer(X) -> X; true -> Text(X) end} || {K, X} <- M])
            || M <- try rabbit_quorum_queue:status(V, N) catch _:_ ->
                [[{<<"Node Name">>, O}, {<<"Raft State">>, unknown}]
                 || {members, L} <- rabbit_amqqueue:info(Q, [members]), O <- L] end]}
        || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue,
           {resource, V, queue, N} <- [amqqueue:get_name(Q)]]})]).
"""
STATUS: Final = " ".join(_EXPRESSION.split())

# States of a member that takes part; on a drained node it is `noproc`, on a stopped one `{nodedown,…}`.
_ALIVE: Final = frozenset(
    {"leader", "follower", "candidate", "pre_vote", "await_condition", "receive_snapshot"}
)


@dataclass(frozen=True)
class Member:
    """One node's copy of a queue; the indexes are those of its log, and -1 if it does not say."""

    node: str
    state: str
    last: int
    committed: int

    @property
    def alive(self) -> bool:
        """Whether it takes part in the queue."""
        return self.state in _ALIVE


@dataclass(frozen=True)
class QuorumQueue:
    """A quorum queue with its members."""

    vhost: str
    name: str
    members: tuple[Member, ...]

    @property
    def majority(self) -> int:
        """How many members it needs."""
        return len(self.members) // 2 + 1

    @property
    def committed(self) -> int:
        """The last index that a majority holds, as far as any member knows."""
        return max((member.committed for member in self.members), default=-1)

    def on(self, node: str) -> Member | None:
        """Find the member of a node."""
        return next((member for member in self.members if member.node == node), None)


def read_queues(document: Iterable[Mapping[str, Any]]) -> list[QuorumQueue]:
    """Read the quorum queues of what `STATUS` printed.

    Args:
        document: The queues of its JSON.

    Returns:
        The queues.
    """
    return [
        QuorumQueue(
            queue["vhost"],
            queue["name"],
            tuple(
                Member(
                    node=member["Node Name"],
                    state=str(member["Raft State"]),
                    # 3.10 knows one index of the log, later versions also what is on disk.
                    last=_index(member.get("Last Written", member.get("Log Index"))),
                    committed=_index(member.get("Commit Index")),
                )
                for member in queue["members"]
            ),
        )
        for queue in document
    ]


def unhealthy(status: Mapping[str, Any], nodes: Iterable[str] = ()) -> list[str]:
    """Return why no node of the cluster may be stopped now.

    Args:
        status: What `STATUS` printed as JSON.
        nodes: The nodes that matter, all if there are none here. One that left for good is none of
            them.

    Returns:
        A sentence for each reason.
    """
    running, relevant = set(status["running"]), set(nodes) or set(status["known"])
    reasons = [f"{node} is not running" for node in sorted(relevant & set(status["known"]) - running)]
    reasons += [f"{node} is in maintenance mode" for node in sorted(status["maintenance"])]
    reasons += [f"an alarm is raised: {_alarm(alarm)}" for alarm in status["alarms"]]
    reasons += [
        f"{node} was cut off from {', '.join(sorted(others))}"
        for node, others in sorted(status["partitions"].items())
    ]
    return reasons


def critical(queues: Iterable[QuorumQueue], node: str) -> list[str]:
    """Return which queues would lose their majority without a node.

    Args:
        queues: The quorum queues.
        node: The node that is about to stop.

    Returns:
        A sentence for each set of missing members, which names them and the queues. A queue with a single
        member is left out: whatever stops its node stops it, and waiting makes it no better.
    """
    endangered: dict[str, list[str]] = {}
    for queue in queues:
        others = [member for member in queue.members if member.node != node]
        alive = sum(member.alive for member in others)
        if queue.on(node) and len(queue.members) > 1 and alive < queue.majority:
            missing = ", ".join(sorted(member.node for member in others if not member.alive))
            endangered.setdefault(missing or "no other member", []).append(queue.name)
    return [
        f"without {node} {some(names)} would have no majority, because of {missing}"
        + (" (not taking part)" if missing != "no other member" else "")
        for missing, names in sorted(endangered.items())
    ]


def behind(before: Iterable[QuorumQueue], now: Iterable[QuorumQueue], nodes: Iterable[str] = ()) -> list[str]:
    """Return which nodes' members do not yet hold what was committed at an earlier look.

    Under load a member is always some entries behind its leader; one that has what the queue had committed a
    moment ago follows as fast as tasks come, and one that is still fetching its log does not.

    Args:
        before: The quorum queues at the earlier look.
        now: The same, now.
        nodes: The nodes that matter, all if there are none here.

    Returns:
        A sentence for each node, with the queue that lacks most.
    """
    relevant = set(nodes)
    goals = {(queue.vhost, queue.name): queue.committed for queue in before}
    lacking: dict[str, list[tuple[int, str]]] = {}
    for queue in now:
        goal = goals.get((queue.vhost, queue.name), -1)
        for member in queue.members:
            if (not relevant or member.node in relevant) and (not member.alive or member.last < goal):
                lacking.setdefault(member.node, []).append((goal - member.last, queue.name))
    return [
        f"{name} does not hold all of {some([queue for _, queue in sorted(queues, reverse=True)])}: "
        f"{max(queues)[0]} entries of {max(queues)[1]} are missing"
        for name, queues in sorted(lacking.items())
    ]


def _index(value: object) -> int:
    return value if isinstance(value, int) else -1


def _alarm(alarm: object) -> str:
    if isinstance(alarm, Mapping):
        return " ".join(str(alarm[key]) for key in ("resource", "node") if key in alarm) or str(dict(alarm))
    return str(alarm)
