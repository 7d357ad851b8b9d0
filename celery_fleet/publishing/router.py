"""Where a task goes by what it is called: the fleet's routing rules, compiled once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from celery_fleet.fleet import Branch, Routing, Rule

HINT_HEADER = "fleet_resource"

# A run of capitals that is not the start of a word (HTTP in HTTPServer), a word with or without a
# capital, a number. Everything else, `.`, `_` and `-` above all, separates.
_WORD = re.compile(r"[A-Z]+(?![^\W\dA-Z_])|[A-Z]?[^\W\dA-Z_]+|\d+")

# Applications that make up names (one per customer, say) must not fill the memory.
_REMEMBERED_NAMES = 4096


@dataclass(frozen=True)
class Decision:
    """The queue of a task, and the rule that chose it in words for a person."""

    queue: str
    rule: str


@dataclass(frozen=True)
class _CompiledRule:
    label: str
    task: str | None
    whole_path: bool
    words: frozenset[str]
    branches: tuple[tuple[frozenset[str], str], ...]
    queue: str

    def decide(self, name: str, own: Sequence[str], path: Sequence[str]) -> Decision | None:
        present = path if self.whole_path else own
        reason = self.label
        if self.task is not None:
            if not fnmatchcase(name, self.task):
                return None
            reason += f", task {self.task}"
        if self.words:
            word = _first(self.words, present)
            if word is None:
                return None
            reason += f", word {word}"
        for words, queue in self.branches:
            if word := _first(words, present):
                return Decision(queue, f"{reason}, branch {word}")
        return Decision(self.queue, reason)


class Router:
    """Chooses queues by the fleet's routing rules.

    In order: an explicit queue, a resource hint, the site's rules, the default queue for Celery's
    own tasks, the rules, the queue for beat's tasks, the default queue.

    Args:
        routing: The rules as the fleet file has them.
    """

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._site_rules = tuple(_compile("site rule", rule) for rule in routing.site_rules)
        self._rules = tuple(_compile("rule", rule) for rule in routing.rules)
        self._by_name = lru_cache(maxsize=_REMEMBERED_NAMES)(self._match)

    def explain(
        self, name: str, *, queue: str | None = None, hint: str | None = None, periodic: bool = False
    ) -> Decision:
        """Decide where a task goes, and by which rule.

        Args:
            name: The task's full name.
            queue: The queue that its publisher asks for, if any.
            hint: The resource that its publisher or its definition names, if any.
            periodic: Whether beat publishes it.

        Returns:
            The queue and the reason. An explicit queue is not checked for existence here.
        """
        if queue:
            named = self.by_alias(queue)
            return Decision(named or queue, f"alias {queue}" if named else "explicit queue")
        if hint:
            return self.by_hint(hint)
        decision = self._by_name(name)
        if decision is not None:
            return decision
        if periodic:
            return Decision(self._routing.periodic_queue, "periodic")
        return Decision(self._routing.default_queue, "default")

    def by_alias(self, name: str) -> str | None:
        """Return the fleet's queue that an application calls by this name, none if it is no alias."""
        return self._routing.aliases.get(name)

    def by_hint(self, hint: str) -> Decision:
        """Decide by a resource hint; one that the fleet does not know leads to the default queue."""
        queue = self._routing.hints.get(hint)
        if queue is None:
            return Decision(self._routing.default_queue, f"unknown hint {hint}")
        return Decision(queue, f"hint {hint}")

    def _match(self, name: str) -> Decision | None:
        path = words(name)
        own = words(name.rpartition(".")[2])
        for rule in self._site_rules:
            if decision := rule.decide(name, own, path):
                return decision
        # `celery.chord_unlock` and its kind say nothing about what the application computes.
        if name.startswith("celery."):
            return Decision(self._routing.default_queue, "Celery's own task")
        for rule in self._rules:
            if decision := rule.decide(name, own, path):
                return decision
        return None


def words(name: str) -> list[str]:
    """Split a name into lower-case words at `.`, `_`, `-`, spaces, camelCase and digits.

    `HTMLParser2.fetchAPI_data` has the words html, parser, 2, fetch, api and data.
    """
    return [word.lower() for word in _WORD.findall(name)]


def _compile(kind: str, rule: Rule) -> _CompiledRule:
    def branch(each: Branch) -> tuple[frozenset[str], str]:
        return frozenset(each.words), each.queue

    return _CompiledRule(
        label=f"{kind} {rule.name}",
        task=rule.task,
        whole_path=rule.match == "path",
        words=frozenset(rule.words),
        branches=tuple(map(branch, rule.branches)),
        queue=rule.queue,
    )


def _first(words_of_rule: frozenset[str], present: Sequence[str]) -> str | None:
    return next((word for word in present if word in words_of_rule), None)
