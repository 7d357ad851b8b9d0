"""One cluster of broker nodes: which nodes join, which are forgotten, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """What a node reports of itself and its cluster.

    Attributes:
        known: All nodes of its cluster, itself among them.
        running: Those of them that run.
        blank: Whether it holds nothing but what a broker has at its first start.
        holds: What it holds, in words.
    """

    known: frozenset[str]
    running: frozenset[str]
    blank: bool = True
    holds: str = ""


@dataclass(frozen=True)
class Membership:
    """What is to be done, and what can't be.

    Attributes:
        seed: The node that the others join; none if no node answers.
        forget: Nodes that the cluster has to forget, in order.
        join: Blank nodes that join the seed, in order.
        down: Nodes of the inventory that don't answer.
        kept: Nodes that are down and not in the inventory, but may be one of ``down`` under another name.
        refusals: Why nothing may be done, each with its remedy.
    """

    seed: str | None
    forget: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.forget or self.join)


def membership(nodes: Sequence[str], views: Mapping[str, View], *, new_cluster: bool = False) -> Membership:
    """Compare the cluster of the inventory with what its nodes report.

    Args:
        nodes: The nodes of the inventory, in its order.
        views: What each of them that answers reports.
        new_cluster: Whether blank nodes may begin without those that do not answer.

    Returns:
        What is to be done. With refusals, nothing.
    """
    answering = [node for node in nodes if node in views]
    down = tuple(node for node in nodes if node not in views)
    if not answering:
        return Membership(None, down=down)
    # A node that its cluster forgot, or that lost its data, may think itself alone while others know it.
    clusters = {views[node].known for node in answering}
    full = [
        members
        for members in clusters
        if any(node in members and not views[node].blank for node in answering)
    ]
    if len(full) > 1:
        conflicts = "; ".join(
            f"{node} ({', '.join(sorted(members))}) holds {views[node].holds}"
            for members in sorted(full, key=sorted)
            for node in answering
            if views[node].known == members and not views[node].blank
        )
        return Membership(
            None,
            down=down,
            refusals=(
                f"these brokers hold data of their own, and to join one would lose the others': {conflicts}. "
                "Drain and move what is to be kept, run `rabbitmqctl stop_app; rabbitmqctl force_reset; "
                "rabbitmqctl start_app` on those that are to join, and run again",
            ),
        )
    # The largest, and of equals the one that the inventory names first.
    chosen = max(
        full or clusters, key=lambda members: (len(members), -min(map(nodes.index, members & set(nodes))))
    )
    seed = next(node for node in answering if views[node].known == chosen)
    join = tuple(node for node in answering if views[node].known != chosen)
    strangers = sorted(chosen - set(nodes))
    unknown = [node for node in down if node not in chosen]
    if unknown and not full and not new_cluster:
        return Membership(
            None,
            down=down,
            refusals=(
                f"{', '.join(answering)} hold nothing, and {', '.join(unknown)} do not answer: if those hold "
                "the fleet's queues, a second, empty broker would begin beside them. Start them, and run "
                "again for all brokers (without --limit), so that their firewalls admit a new address. "
                "If none of them holds anything, add -e broker_new_cluster=true",
            ),
        )
    running = views[seed].running
    refusals = [
        f"{node} is in the cluster and runs, but is not in the inventory. Stop it "
        "(systemctl disable --now rabbitmq-server on its host) to have it forgotten, or add its host"
        for node in strangers
        if node in running
    ]
    absent = tuple(node for node in strangers if node not in running)
    # A node that can't be reached may have another name than its host in the inventory.
    forget, kept = ((), absent) if down else (absent, ())
    wiped = tuple(node for node in join if node in chosen)
    if (forget or wiped) and 2 * len(running - set(wiped)) <= len(chosen):
        refusals.append(
            f"only {', '.join(sorted(running))} of {', '.join(sorted(chosen))} run, which is no majority, "
            "and what the others hold may be the newest. Start them, then run again"
        )
    if refusals:
        return Membership(seed, down=down, refusals=tuple(refusals))
    return Membership(seed, forget=wiped + forget, join=join, down=down, kept=kept)
