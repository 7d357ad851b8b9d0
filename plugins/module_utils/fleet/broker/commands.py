"""RabbitMQ's own commands: the only way to work on a node's membership and on the members of queues."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .cluster import View
from .node import expression, read

# Takes the command and its arguments; returns its status, output and errors.
Run = Callable[[list[str]], tuple[int, str, str]]


class CommandError(Exception):
    """A command failed."""


class Commands:
    """RabbitMQ's commands on the host, each of which may work on any node of the cluster.

    Attributes:
        run: Runs a command.
    """

    def __init__(self, run: Run, timeout: int = 120) -> None:
        """Store how commands are run.

        Args:
            run: Runs a command.
            timeout: Seconds that one may take.
        """
        self.run = run
        self._timeout = timeout

    def call(self, command: str, node: str, *arguments: str) -> str:
        """Run a command on a node.

        Args:
            command: ``rabbitmqctl`` or another command of RabbitMQ.
            node: The node.
            arguments: What it is to do.

        Returns:
            What it prints.

        Raises:
            CommandError: It failed.
        """
        argv = [command, "--quiet", "--node", node, "--timeout", str(self._timeout), *arguments]
        status, output, errors = self.run(argv)
        if status != 0:
            raise CommandError(f"{' '.join(argv)} failed ({status}): {(errors or output).strip()}")
        return output

    def json(self, command: str, node: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Run a command on a node and read the JSON that it prints."""
        return json.loads(self.call(command, node, "--formatter", "json", *arguments))

    def running(self, nodes: Sequence[str]) -> set[str]:
        """Return which of some nodes run in one cluster.

        Args:
            nodes: The nodes.

        Returns:
            Those that run, as the first that answers sees them.

        Raises:
            CommandError: None of them answers.
        """
        for node in nodes:
            view = view_of(self.ask(node))
            if view:
                return set(view.running & set(nodes))
        raise CommandError(f"None of the nodes answers: {', '.join(nodes)}.")

    def ask(self, node: str) -> dict[str, Any]:
        """Read the state of a node in one call.

        Args:
            node: The node.

        Returns:
            What it reports (node.py); empty if it does not answer.
        """
        try:
            return read(self.call("rabbitmqctl", node, "eval", expression([])))
        except CommandError:
            return {}


def view_of(answer: dict[str, Any]) -> View | None:
    """Return the view that a node has of its cluster.

    Args:
        answer: What the node reported.

    Returns:
        None if it did not answer, or its broker is stopped.
    """
    if not answer.get("counts"):
        return None
    queues, vhosts, users = answer["counts"]
    return View(
        known=frozenset(answer["known"]),
        running=frozenset(answer["running_nodes"]),
        # The virtual host / and the user guest.
        blank=queues == 0 and vhosts <= 1 and users <= 1,
        holds=f"{queues} queues, {vhosts} virtual hosts, {users} users",
    )
