"""Results of `python -m celery_fleet verify`: a table for people, faults for the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import Node
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.text import columns


def verify_table(result: Mapping[str, Any]) -> str:
    """Write one line per queue.

    Args:
        result: The JSON object that `celery_fleet verify` prints

    Returns:
        A table with queue, exchange, pool, node and milliseconds; silent queues, then dead letters last
    """
    rows = [("queue", "exchange", "pool", "executed by", "ms")]
    rows += [
        (a["queue"], a["exchange"], a["pool"] or "?", a["node"] or "?", _whole(a["milliseconds"]))
        for a in sorted(result["answers"], key=lambda a: (a["exchange"], a["queue"]))
    ]
    rows += [(queue, "", "", "NO ANSWER", "") for queue in result["missing"]]
    dead = [
        f"{count} dead letters in {queue}: playbooks/dead_letters.yml"
        for queue, count in result["dead_letters"].items()
        if count
    ]
    return "\n".join([*columns([[str(cell) for cell in row] for row in rows]), *dead])


def _whole(milliseconds: float | None) -> str:
    """Return a time, or nothing for a canary that could not be published."""
    return "" if milliseconds is None else f"{milliseconds:.0f}"


def verify_faults(
    result: Mapping[str, Any], plans: Sequence[Mapping[str, Any]], *, whole: bool = True
) -> list[str]:
    """Compare the answers with the plan.

    Args:
        result: The JSON object that `celery_fleet verify` prints
        plans: The plan of each worker host, as `host_plan` returns it
        whole: Whether every host has a plan; with `--limit` the others' facts are unknown, and so their nodes

    Returns:
        One sentence per canary that was lost or executed in the wrong place
    """
    nodes: dict[str, set[str]] = {}
    queues: set[str] = set()
    for plan in plans:
        for name, pool in plan["pools"].items():
            nodes.setdefault(name, set()).add(pool["node"])
            queues |= set(pool["queues"])
    faults = [
        f"{queue}: no answer; see the queue's depth and consumers, then the journal of its pool's units"
        for queue in result["missing"]
    ]
    faults += [
        f"{queue}: planned, but no canary was sent; the fleet file on this host is older than the model"
        for queue in sorted(queues - {a["queue"] for a in result["answers"]} - set(result["missing"]))
    ]
    for answer in result["answers"]:
        if answer["fault"]:
            faults.append(f"{answer['queue']}: {answer['fault']}")
        elif not whole and _pool(answer["node"]) == answer["expected_pool"]:
            continue
        elif _planned(answer["node"]) not in nodes.get(answer["expected_pool"], set()):
            faults.append(
                f"{answer['queue']}: executed by {answer['node']}, which the plan does not know as a node "
                f"of pool {answer['expected_pool']}"
            )
    return faults


def _planned(name: str) -> str:
    """Return a node's name as a plan has it, without the number of its instance."""
    node = Node.parse(name)
    return str(node.planned) if node else name


def _pool(name: str) -> str:
    """Return the pool of a node; empty if it is no worker's of the fleet."""
    node = Node.parse(name)
    return node.pool if node else ""


class FilterModule:
    """Filters of the verify playbook."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"verify_table": verify_table, "verify_faults": verify_faults}
