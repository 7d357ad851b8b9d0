"""The fleet as the configuration management describes it to this host: `fleet.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

from celery_fleet.errors import FleetFileError
from celery_fleet.files import DEPLOY, read_text
from celery_fleet.fleet import (
    MAX_MESSAGE_SIZE,
    Branch,
    Broker,
    DeadLetters,
    Fleet,
    Login,
    Node,
    Pool,
    Queue,
    Results,
    Routing,
    Rule,
    Verify,
)

DEFAULT_PATH = "/etc/celery-fleet/fleet.json"
PATH_VARIABLE = "CELERY_FLEET_FILE"
POOL_VARIABLE = "CELERY_FLEET_POOL"
SCHEMA = 2

T = TypeVar("T")


class _Section:
    """A JSON object that names its place in the file when one of its fields is wrong."""

    def __init__(self, path: str, where: str, value: object) -> None:
        self.path = path
        self.where = where
        if not isinstance(value, dict):
            raise self.wrong(where or "the whole file", "an object", value)
        self.fields: dict[str, object] = value

    def wrong(self, where: str, expected: str, value: object) -> FleetFileError:
        return FleetFileError(self.path, f"`{where}` must be {expected}, not {value!r}", DEPLOY)

    def place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str, kind: type[T], expected: str) -> T:
        if key not in self.fields:
            raise FleetFileError(self.path, f"`{self.place(key)}` is missing", DEPLOY)
        value = self.fields[key]
        # JSON's true is an int to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(self.place(key), expected, value)
        return value

    def text(self, key: str) -> str:
        value = self.get(key, str, "a string")
        if not value:
            raise self.wrong(self.place(key), "a string that is not empty", value)
        return value

    def file(self, key: str) -> str:
        """Return a path; one in the fleet file's usual directory is beside it, wherever a copy lies."""
        path, usual = Path(self.text(key)), Path(DEFAULT_PATH).parent
        return str(Path(self.path).parent / path.relative_to(usual) if path.is_relative_to(usual) else path)

    def one_of(self, key: str, *choices: str) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.wrong(self.place(key), f"one of {', '.join(choices)}", value)
        return value

    def number(self, key: str, least: int = 1) -> int:
        value = self.get(key, int, "a whole number")
        if value < least:
            raise self.wrong(self.place(key), f"{least} or more", value)
        return value

    def optional_number(self, key: str) -> int | None:
        return None if self.fields.get(key) is None else self.number(key)

    def section(self, key: str) -> _Section:
        return _Section(self.path, self.place(key), self.get(key, dict, "an object"))

    def texts(self, key: str) -> dict[str, str]:
        section = self.section(key)
        return {name: section.text(name) for name in section.fields}

    def sections(self, key: str) -> list[_Section]:
        values: list[object] = self.get(key, list, "a list")
        return [_Section(self.path, f"{self.place(key)}[{n}]", value) for n, value in enumerate(values)]

    def optional_sections(self, key: str) -> list[_Section]:
        return self.sections(key) if key in self.fields else []

    def optional_list(self, key: str) -> tuple[str, ...]:
        values: list[object] = self.get(key, list, "a list of texts") if key in self.fields else []
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(self.place(key), "a list of texts", values)
        return tuple(map(str, values))

    def words(self, key: str) -> tuple[str, ...]:
        values: list[object] = self.get(key, list, "a list of words")
        words = tuple(value.lower() for value in values if isinstance(value, str) and value)
        if len(words) != len(values):
            raise self.wrong(self.place(key), "a list of words", values)
        return words


def load(path: str | None = None) -> Fleet:
    """Read and check the fleet file.

    Args:
        path: The file; by default what CELERY_FLEET_FILE names, else `/etc/celery-fleet/fleet.json`.

    Returns:
        Its contents.

    Raises:
        FleetFileError: The file is missing or unreadable, is not JSON, has another schema, lacks a field,
            or a field has an unusable value. The message names the file, the field and the remedy.
    """
    path = path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    text = read_text(path, f"{DEPLOY}; elsewhere let {PATH_VARIABLE} name a copy")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise FleetFileError(path, f"not JSON: {error}", DEPLOY) from error
    top = _Section(path, "", content)
    schema = top.get("schema", int, "a whole number")
    if schema != SCHEMA:
        raise FleetFileError(
            path,
            f"schema {schema}, but this release understands schema {SCHEMA}",
            "Deploy the application again, so that release and file come from the same version",
        )
    return _fleet(path, top)


def _fleet(path: str, top: _Section) -> Fleet:
    app, verify = top.section("app"), top.section("verify")
    pools = top.section("pools")
    fleet = Fleet(
        path=path,
        app_name=app.text("name"),
        celery_app=app.text("celery_app"),
        broker=_broker(top.section("broker")),
        pools={name: _pool(name, pools.section(name)) for name in pools.fields},
        routing=_routing(top.section("routing")),
        verify=Verify(
            exchange=verify.text("exchange"),
            queue=verify.text("queue"),
            routing_key=verify.text("routing_key"),
            user=verify.text("user"),
            password_file=verify.file("password_file"),
        ),
        dead_letters=_dead_letters(top.section("dead_letters"), pools),
        results=None if top.fields.get("results") is None else _results(top.section("results")),
    )
    _check_queues(fleet)
    return fleet


def _broker(section: _Section) -> Broker:
    nodes = tuple(Node(node.text("host"), node.number("port")) for node in section.sections("nodes"))
    if not nodes:
        raise section.wrong(section.place("nodes"), "a list of at least one node", [])
    return Broker(
        nodes=nodes,
        vhost=section.text("vhost"),
        user=section.text("user"),
        password_file=section.file("password_file"),
        ca_file=None if section.fields.get("tls") is None else section.section("tls").file("ca_file"),
        client_control=bool(section.fields.get("client_control")),
        max_message_size=section.optional_number("max_message_size") or MAX_MESSAGE_SIZE,
    )


def _results(section: _Section) -> Results:
    logins = {
        side: Login(login.text("user"), login.file("password_file"))
        for side in ("worker", "client")
        for login in [section.section(side)]
    }
    return Results(
        host=section.text("host"),
        port=section.number("port"),
        ca_file=None if section.fields.get("tls") is None else section.section("tls").file("ca_file"),
        worker=logins["worker"],
        client=logins["client"],
    )


def _pool(name: str, section: _Section) -> Pool:
    queues = section.section("queues")
    return Pool(
        name=name,
        exchange=section.text("exchange"),
        exchange_type=section.one_of("exchange_type", "topic", "direct"),
        queue_type=section.one_of("queue_type", "quorum", "classic"),
        queues=tuple(Queue(queue, queues.section(queue).text("routing_key")) for queue in queues.fields),
        execution=section.one_of("execution", "prefork", "threads", "gevent"),
        command_prefix=section.optional_list("command_prefix"),
        acknowledgement=section.one_of("acknowledgement", "late", "early"),
        prefetch_multiplier=section.number("prefetch_multiplier"),
        max_tasks_per_child=section.optional_number("max_tasks_per_child"),
        time_limit=section.number("time_limit"),
        soft_time_limit=section.number("soft_time_limit"),
        user=section.text("user"),
        password_file=section.file("password_file"),
    )


def _routing(section: _Section) -> Routing:
    return Routing(
        default_queue=section.text("default_queue"),
        periodic_queue=section.text("periodic_queue"),
        hints=section.texts("hints"),
        aliases=section.texts("aliases") if "aliases" in section.fields else {},
        site_rules=tuple(_rule(rule) for rule in section.optional_sections("site_rules")),
        rules=tuple(_rule(rule) for rule in section.optional_sections("rules")),
    )


def _rule(section: _Section) -> Rule:
    if not {"task", "words"} & section.fields.keys():
        raise FleetFileError(section.path, f"`{section.where}` has neither `task` nor `words`", DEPLOY)
    return Rule(
        name=section.text("name"),
        queue=section.text("queue"),
        words=section.words("words") if "words" in section.fields else (),
        task=section.text("task") if "task" in section.fields else None,
        match=section.one_of("match", "name", "path") if "match" in section.fields else "name",
        branches=tuple(
            Branch(branch.words("words"), branch.text("queue"))
            for branch in section.optional_sections("branches")
        ),
    )


def _dead_letters(section: _Section, declared: _Section) -> DeadLetters:
    queues = section.section("queues")
    pools_of: dict[str, tuple[str, ...]] = {}
    for name in queues.fields:
        pools: list[object] = queues.get(name, list, "a list of pools")
        pools_of[name] = tuple(pool for pool in pools if isinstance(pool, str) and pool in declared.fields)
        if not pools or len(pools_of[name]) != len(pools):
            raise queues.wrong(queues.place(name), "a list of pools", pools)
    return DeadLetters(section.text("user"), section.file("password_file"), pools_of)


def _check_queues(fleet: Fleet) -> None:
    owners: dict[str, str] = {}
    for pool in fleet.pools.values():
        for queue in pool.queues:
            if queue.name in owners:
                raise FleetFileError(
                    fleet.path,
                    f"queue `{queue.name}` belongs to pool `{owners[queue.name]}` and to `{pool.name}`",
                    DEPLOY,
                )
            owners[queue.name] = pool.name
    routing = fleet.routing
    targets = {
        "routing.default_queue": routing.default_queue,
        "routing.periodic_queue": routing.periodic_queue,
        **{f"routing.hints.{hint}": queue for hint, queue in routing.hints.items()},
        **{f"routing.aliases.{alias}": queue for alias, queue in routing.aliases.items()},
    }
    for kind, rules in (("site_rules", routing.site_rules), ("rules", routing.rules)):
        for rule in rules:
            targets[f"routing.{kind} `{rule.name}`"] = rule.queue
            for number, branch in enumerate(rule.branches):
                targets[f"routing.{kind} `{rule.name}` branch {number}"] = branch.queue
    for where, name in targets.items():
        if name not in owners:
            raise FleetFileError(fleet.path, f"{where} leads to `{name}`, a queue of no pool", DEPLOY)
