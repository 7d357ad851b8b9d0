"""Brokers on real hosts: what they hold, who may do what, and what a second run repairs or refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import amqp
import pytest
from fleet.broker.counts import Count, Counts, counter
from support.guide import GUIDE
from support.leaks import leaks
from support.scenario import MOLECULE, ROOT, Scenario, remote, tunnel, until

NEW, OLD = "molecule-broker-13", "molecule-broker-12"
VHOST = "celery_fleet"
POOLS = ("cpu", "io", "memory", "general")
WORKERS = tuple(f"worker_{pool}" for pool in POOLS)
USERS = ("kit", *WORKERS, "client", "monitor", "verify", "dead_letters", "beat")
# The tasks of this pool may call those of one other (see the scenario's converge.yml).
RESTRICTED, CALLED = "worker_cpu", "io"

TASK_EXCHANGES = {exchange for exchange, *_ in GUIDE}
TASK_QUEUES = {queue for _, queue, *_ in GUIDE}
DEAD = {f"{exchange}_dead" for exchange in TASK_EXCHANGES}
DELAYS = {f"celery_delayed_{level}" for level in range(28)}

# The part of the role that a change of the model concerns.
TOPOLOGY = ("--tags", "topology")

TRY_API = """
import base64, json, sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:15672" + given["path"])
token = base64.b64encode((given["user"] + ":" + given["password"]).encode()).decode()
request.add_header("Authorization", "Basic " + token)
try:
    answer = urllib.request.urlopen(request, timeout=30)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""


class Broker:
    """One broker: what it holds, and connections to it.

    Args:
        scenario: The scenario's hosts.
        name: The host's name.
        host: Its testinfra host.
        loopback: Address by which its loopback interface is reached.
    """

    def __init__(self, scenario: Scenario, name: str, host: Any, loopback: str) -> None:
        self.name, self.host, self.loopback = name, host, loopback
        self.address = scenario.address(name)
        self.passwords = {user: scenario.password(user) for user in USERS}

    def definitions(self) -> dict[str, Any]:
        """Read everything that the broker holds, without the management API."""
        exported = self.host.check_output("rabbitmqctl --quiet export_definitions - --format json")
        return dict(json.loads(exported[exported.index("{") :]))

    @cached_property
    def converged(self) -> dict[str, Any]:
        """What the broker held when it was first asked, before any test changed that."""
        return self.definitions()

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """The settings of each policy of the converged broker by its pattern."""
        return {each["pattern"]: each["definition"] for each in self.converged["policies"]}

    def setting(self, name: str) -> int:
        """Return a figure of the running broker's environment."""
        return int(
            self.host.check_output(f"rabbitmqctl --quiet eval 'application:get_env(rabbit, {name}).'")[4:-1]
        )

    @contextmanager
    def channel(self, user: str, password: str | None = None) -> Iterator[Any]:
        """Return a channel whose publishes are confirmed."""
        with self.connection(user, password) as connection:
            yield connection.channel()

    @contextmanager
    def connection(self, user: str, password: str | None = None, address: str = "") -> Iterator[Any]:
        """Return a connection whose channels confirm publishes."""
        address = address or (self.loopback if user == "kit" else self.address)
        connection = amqp.Connection(
            host=f"{address}:5672",
            userid=user,
            password=password or self.passwords[user],
            virtual_host=VHOST,
            login_method="PLAIN",
            confirm_publish=True,
            connect_timeout=10,
            read_timeout=20,
        )
        connection.connect()
        try:
            yield connection
        finally:
            connection.collect()

    def publish(self, channel: Any, exchange: str, key: str, body: str) -> list[str]:
        """Publish a message that must reach a queue, and give the replies if it came back."""
        returned: list[str] = []
        channel.events["basic_return"].add(lambda error, *_: returned.append(str(error)))
        message = amqp.Message(body, delivery_mode=2)
        channel.basic_publish_confirm(message, exchange=exchange, routing_key=key, mandatory=True)
        return returned

    def drain(self, queue: str, user: str = "kit") -> list[str]:
        """Take all messages out of a queue."""
        bodies: list[str] = []
        with self.channel(user) as channel:
            while (message := channel.basic_get(queue)) is not None:
                bodies.append(message.body)
                channel.basic_ack(message.delivery_tag)
        return bodies

    def remote(self, code: str, given: dict[str, str]) -> str:
        """Run Python on the host as root; code and secrets travel by standard input."""
        __tracebackhide__ = True  # a report of a failure would show the secrets
        return remote(self.name, code, given)

    def api(self, user: str, path: str) -> int:
        """Return the status that the management API answers a user."""
        return int(self.ask(user, path).split(maxsplit=1)[0])

    def ask(self, user: str, path: str) -> str:
        """Return the status and the body that the management API answers a user."""
        return self.remote(TRY_API, {"user": user, "password": self.passwords[user], "path": path})

    @cached_property
    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.converged["rabbitmq_version"].split("."))


@pytest.fixture(scope="module")
def brokers(scenario: Scenario, host: Callable[[str], Any]) -> Iterator[dict[str, Broker]]:
    with ExitStack() as tunnels:
        yield {
            name: Broker(
                scenario, name, host(name), tunnels.enter_context(tunnel(name, scenario.address(name), 5672))
            )
            for name in (NEW, OLD)
        }


@pytest.fixture(params=[NEW, OLD])
def broker(request: pytest.FixtureRequest, brokers: dict[str, Broker]) -> Broker:
    return brokers[request.param]


def play(
    scenario: Scenario, *options: str, playbook: Path = MOLECULE / "broker" / "converge.yml"
) -> subprocess.CompletedProcess[str]:
    """Run the scenario's playbook once more, or another one."""
    return subprocess.run(
        ["ansible-playbook", str(playbook), "-i", str(scenario.inventory), *options],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_both_versions_are_there(brokers):
    found = {name: ".".join(map(str, broker.version[:2])) for name, broker in brokers.items()}
    assert found == {NEW: os.environ.get("RABBITMQ", "4.0"), OLD: "3.10"}


def test_exchanges_are_the_guides_and_what_they_need(broker):
    exchanges = {each["name"]: each for each in broker.converged["exchanges"] if each["vhost"] == VHOST}
    assert set(exchanges) == (TASK_EXCHANGES | DEAD | DELAYS | {"celery_delayed_delivery", "fleet_verify"})
    assert all(each["durable"] and not each["auto_delete"] for each in exchanges.values())
    assert {exchanges[name]["type"] for name in TASK_EXCHANGES} == {"topic"}


def test_queues_are_the_guides_and_what_they_need(broker):
    queues = {each["name"]: each for each in broker.converged["queues"]}
    assert set(queues) == TASK_QUEUES | DEAD | DELAYS | {"fleet_verify", "fleet_beat"}
    assert all(each["durable"] and not each["auto_delete"] for each in queues.values())
    for name in TASK_QUEUES | DEAD:
        assert queues[name]["arguments"] == {"x-queue-type": "quorum"}


def test_queues_are_bound_by_the_guides_keys(broker):
    bound = {
        (each["source"], each["destination"], each["routing_key"])
        for each in broker.converged["bindings"]
        if each["destination"] in TASK_QUEUES
    }
    literal = {(exchange, queue, key) for exchange, queue, key, _ in GUIDE}
    assert bound == literal | {(exchange, queue, f"#.{key}") for exchange, queue, key in literal}


def test_each_queue_has_the_guides_limit_and_refuses_what_exceeds_it(broker):
    policies = broker.policies
    for exchange, queue, _, length in GUIDE:
        policy = policies[f"^{queue}$"]
        assert policy["max-length"] == length
        assert policy["overflow"] == "reject-publish"
        assert policy["dead-letter-exchange"] == f"{exchange}_dead"
        assert policy["dead-letter-strategy"] == "at-least-once"
        assert policy["delivery-limit"] == 20


def test_no_task_is_taken_away_before_its_hard_limit(broker):
    limits = {"cpu": 3600, "io": 300, "memory": 7200, "general": 600}
    assert broker.setting("consumer_timeout") > limits["memory"] * 1000
    timeouts = {pattern: each.get("consumer-timeout") for pattern, each in broker.policies.items()}
    for _, queue, *_ in GUIDE:
        timeout = timeouts[f"^{queue}$"]
        if broker.version < (3, 12):
            assert timeout is None
        else:
            assert timeout > limits[queue.partition("_")[0]] * 1000


@pytest.mark.parametrize(("exchange", "queue", "key", "length"), GUIDE)
def test_a_task_published_to_its_exchange_lands_in_its_queue(broker, exchange, queue, key, length):
    with broker.channel("client") as channel:
        assert broker.publish(channel, exchange, key, f"for {queue}") == []
    assert broker.drain(queue) == [f"for {queue}"]


def test_a_delayed_task_comes_to_its_queue(broker):
    """One second by kombu's delay exchanges: 27 zeros, a one, then the key."""
    bits = ".".join("0" * 27 + "1")
    with broker.channel("client") as channel:
        assert broker.publish(channel, "celery_delayed_27", f"{bits}.cpu.ml", "later") == []
    with broker.channel("worker_cpu") as channel:
        bodies: list[str] = []
        channel.basic_consume(
            "cpu_ml_training", no_ack=True, callback=lambda message: bodies.append(message.body)
        )
        while not bodies:
            channel.connection.drain_events(timeout=15)
    assert bodies == ["later"]


def test_a_task_that_no_queue_takes_comes_back(broker):
    with broker.channel("client") as channel:
        (returned,) = broker.publish(channel, "cpu_tasks", "cpu.nonsense", "nowhere")
    assert "NO_ROUTE" in returned


def test_a_full_queue_refuses_the_newest_and_keeps_the_oldest(broker):
    accepted: list[str] = []
    refused: list[str] = []
    with broker.channel("client") as channel:
        for number in range(60):
            try:
                broker.publish(channel, "cpu_tasks", "cpu.video", str(number))
            except amqp.exceptions.MessageNacked:
                refused.append(str(number))
            else:
                accepted.append(str(number))
    kept = broker.drain("cpu_video_processing")
    assert kept == accepted, "what was confirmed is there, in its order, and nothing else"
    assert accepted[:50] == [str(number) for number in range(50)]
    assert len(refused) >= 5, "the limit of a quorum queue is soft by one or two"


def publishes(broker: Broker, channel: Any, exchange: str, key: str, routed: bool = True) -> None:
    """Publish, unlike `Broker.publish` also to an exchange behind which there is no queue."""
    channel.basic_publish_confirm(
        amqp.Message("tried", delivery_mode=2), exchange=exchange, routing_key=key, mandatory=routed
    )


# Names of a pool and of what belongs to it: its exchange, a queue, its key.
OWN = {"cpu": ("cpu_ml_training", "cpu.ml"), "io": ("io_api_calls", "io.api")}
OWN |= {
    "memory": ("memory_large_imports", "memory.import"),
    "general": ("general_scheduled", "general.scheduled"),
}
SOON = ".".join("0" * 27 + "1")
REPLY = "7d3e6a4c-0b0f-3c39-8d3c-7a8f4f6b1c9e.reply.celery.pidbox"


def _of_pools(
    what: str, action: Callable[[str, str, str], Callable[[Broker, Any], Any]]
) -> dict[str, Callable[[Broker, Any], Any]]:
    """Return an action for each pool, which is given the pool's name, a queue of it and the queue's key."""
    return {f"{what} {pool}": action(pool, *OWN[pool]) for pool in POOLS}


ACTIONS: dict[str, Callable[[Broker, Any], Any]] = {
    "declare a queue": lambda _, channel: channel.queue_declare("intruder", durable=True),
    "declare an exchange": lambda _, channel: channel.exchange_declare("intruder", "topic", durable=True),
    "delete a queue": lambda _, channel: channel.queue_delete("cpu_ml_training"),
    "bind a queue": lambda _, channel: channel.queue_bind("cpu_ml_training", "cpu_tasks", "intruder"),
    "listen to delays": lambda _, channel: channel.queue_bind("cpu_ml_training", "celery_delayed_27", "#"),
    **_of_pools(
        "be a node of",
        lambda pool, *_: (
            lambda _, channel: channel.queue_declare(f"{pool}_worker@h.celery.pidbox", exclusive=True)
        ),
    ),
    "ask the nodes": lambda broker, channel: publishes(broker, channel, "celery.pidbox", "", routed=False),
    "await their answers": lambda _, channel: channel.queue_declare(REPLY, exclusive=True),
    **_of_pools("read a task of", lambda _, queue, __: lambda _, channel: channel.basic_get(queue)),
    **_of_pools("purge the tasks of", lambda _, queue, __: lambda _, channel: channel.queue_purge(queue)),
    "read a dead task": lambda _, channel: channel.basic_get("cpu_tasks_dead"),
    "clear the scheduler's memory": lambda _, channel: channel.queue_purge("fleet_beat"),
    "read an answer": lambda _, channel: channel.basic_get("fleet_verify"),
    **_of_pools(
        "publish a task to",
        lambda pool, _, key: lambda broker, channel: publishes(broker, channel, f"{pool}_tasks", key),
    ),
    **_of_pools(
        "delay a task for",
        lambda _, __, key: (
            lambda broker, channel: publishes(broker, channel, "celery_delayed_27", f"{SOON}.{key}")
        ),
    ),
    "note a periodic task": lambda broker, channel: publishes(broker, channel, "io_tasks", "fleet_beat"),
    "publish a dead task": lambda broker, channel: publishes(broker, channel, "io_tasks_dead", ""),
    "publish an answer": lambda broker, channel: publishes(broker, channel, "fleet_verify", "answer"),
    "go around the exchanges": lambda broker, channel: publishes(broker, channel, "", "io_api_calls"),
}
PUBLISH = {f"{action} {pool}" for action in ("publish a task to", "delay a task for") for pool in POOLS}
CONTROL = {"ask the nodes", "await their answers", "publish an answer"}


def allowed(user: str) -> set[str]:
    """Return what a user may do, by a rule of this test's own."""
    if user in WORKERS:
        pool = user.removeprefix("worker_")
        own = {f"be a node of {pool}", f"read a task of {pool}", f"purge the tasks of {pool}"}
        reached = (pool, CALLED) if user == RESTRICTED else POOLS
        return CONTROL | own | {action for action in PUBLISH if action.endswith(tuple(reached))}
    return {
        "client": PUBLISH,
        "monitor": set(),
        "verify": PUBLISH | {"read an answer"},
        "dead_letters": {"read a dead task", *(f"publish a task to {pool}" for pool in POOLS)},
        "beat": {
            "clear the scheduler's memory",
            "note a periodic task",
            *(f"publish a task to {pool}" for pool in POOLS),
        },
    }[user]


@pytest.mark.parametrize("user", [user for user in USERS if user != "kit"])
def test_a_user_may_do_what_it_needs_and_no_more(broker, user):
    """Every action on one connection; a channel that is refused is closed by the broker."""
    with broker.connection("kit") as connection:
        setup = connection.channel()
        # Workers make it, when they start.
        setup.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
    done = set()
    with broker.connection(user) as connection:
        for name, action in ACTIONS.items():
            channel = connection.channel()
            try:
                action(broker, channel)
                channel.basic_qos(0, 1, False)  # awaits the answer to a publish that the broker refuses later
            except amqp.exceptions.AccessRefused:
                continue
            done.add(name)
            channel.close()
    for queue in (*(queue for queue, _ in OWN.values()), "fleet_verify"):
        broker.drain(queue)
    with broker.channel("kit") as channel:
        channel.queue_purge("fleet_beat")  # nobody may get a message of a queue with a single active consumer
    assert done == allowed(user)


@pytest.mark.parametrize(
    ("user", "path", "status"),
    [
        ("kit", "/api/definitions", 200),
        ("monitor", "/api/queues", 200),
        ("monitor", "/api/definitions", 401),
        ("worker_io", "/api/overview", 401),
        ("dead_letters", "/api/overview", 401),
        ("client", "/api/overview", 401),
        ("verify", "/api/overview", 401),
    ],
)
def test_the_management_api_is_for_those_who_need_it(broker, user, path, status):
    assert broker.api(user, path) == status


def test_guest_is_gone(broker):
    assert {each["name"] for each in broker.converged["users"]} == set(USERS)
    with pytest.raises(amqp.exceptions.AccessRefused), broker.channel("guest", "guest"):
        pass


def test_an_administrator_works_on_the_host_itself_alone(broker):
    with broker.connection("kit"):
        pass
    with pytest.raises(amqp.exceptions.AccessRefused), broker.connection("kit", address=broker.address):
        pass


def test_management_listens_on_the_host_only(broker):
    listening = broker.host.check_output("ss --listening --tcp --numeric --no-header")
    assert re.findall(r"\s(\S+):15672\s", listening) == ["127.0.0.1"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.address, 15672), timeout=5)


def test_no_password_is_left_where_others_can_read_it(scenario, broker):
    assert leaks(broker.name, scenario.secrets) == ""
    cookie = broker.host.file("/var/lib/rabbitmq/.erlang.cookie")
    assert (cookie.user, cookie.mode) == ("rabbitmq", 0o400)


SPARE_POOL = {
    "kind": "cpu",
    "exchange": "spare_tasks",
    "queues": {"spare_quorum": {"routing_key": "spare.one", "max_length": 200}},
    "demand": {"cores": 1, "memory_mib": 512},
    "prefetch_multiplier": 1,
    "max_tasks_per_child": 500,
    "time_limit": 900,
    "soft_time_limit": 840,
}
SPARE_CLASSIC = SPARE_POOL | {
    "exchange": "spare_classic_tasks",
    "queue_type": "classic",
    "queues": {"spare_classic": {"routing_key": "spare.two", "max_length": 200}},
}
# For a while the model has two more pools, and a longer limit in one of its own.
WIDER = json.dumps(
    {
        "fleet_environment_pools": {
            "spare": SPARE_POOL,
            "classic": SPARE_CLASSIC,
            "memory": {"time_limit": 9000},
        }
    }
)
FOREIGN = ("exchange reports", "queue reports", "policy reports")


def said(result: subprocess.CompletedProcess[str]) -> str:
    return " ".join(f"{result.stdout} {result.stderr}".split())


@dataclass
class Before:
    """What a broker was before its model was wider for a while."""

    objects: dict[str, list[str]]
    timeout: int
    process: str


@pytest.fixture(scope="module")
def before(scenario: Scenario, brokers: dict[str, Broker]) -> dict[str, Before]:
    """Apply a wider model to brokers on which somebody else has objects too."""
    found = {
        name: Before(sections(broker.definitions()), broker.setting("consumer_timeout"), process(broker))
        for name, broker in brokers.items()
    }
    result = play(scenario, "--extra-vars", WIDER)
    assert result.returncode == 0, result.stdout
    for name, broker in brokers.items():
        assert broker.setting("consumer_timeout") > found[name].timeout
        ctl = "rabbitmqctl --quiet"
        with broker.channel("kit") as channel:
            channel.exchange_declare("reports", "topic", durable=True, auto_delete=False)
            channel.queue_declare("reports", durable=True, auto_delete=False)
            channel.queue_bind("reports", "reports", "#")
            broker.publish(channel, "reports", "any", "theirs")
            broker.publish(channel, "spare_tasks", "spare.one", "still to do")
            broker.publish(channel, "spare_classic_tasks", "spare.two", "still to do")
        broker.host.check_output(
            f"{ctl} add_vhost reports && {ctl} add_user reports x && "
            f"""{ctl} set_policy -p {VHOST} reports '^reports$' '{{"max-length": 9}}'"""
        )
    return found


def test_drift_is_shown_and_repaired_without_a_restart(scenario, brokers, before):
    """The model is as it was, and somebody changed the broker by hand."""
    for broker in brokers.values():
        with broker.channel("kit") as channel:
            channel.queue_unbind("io_api_calls", "io_tasks", "io.api")
            channel.queue_bind("io_api_calls", "io_tasks", "#.stale")
        broker.host.check_output(
            f"rabbitmqctl --quiet set_policy -p {VHOST} --apply-to queues "
            """celery_fleet.cpu_ml_training '^cpu_ml_training$' '{"max-length": 5}'"""
            f" && rabbitmqctl --quiet set_permissions -p {VHOST} client .. .. .."
            " && rabbitmqctl --quiet set_user_tags worker_io management"
        )

    drifted = {name: sections(broker.definitions()) for name, broker in brokers.items()}
    shown = play(scenario, "--check", "--diff", *TOPOLOGY)
    assert shown.returncode == 0, shown.stdout
    for line in (
        r"\+ +binding io_tasks queue io_api_calls io\.api:",
        r"- +'binding io_tasks queue io_api_calls #\.stale':",
        r"  +policy celery_fleet\.cpu_ml_training:",
        r"  +permission client:",
        r"  +user worker_io:",
    ):
        assert len(re.findall(f"(?m)^{line}", shown.stdout)) == len(brokers), f"{line}\n{shown.stdout}"
    assert "password_hash" not in shown.stdout
    for password in brokers[NEW].passwords.values():
        assert password not in shown.stdout
    assert {name: sections(broker.definitions()) for name, broker in brokers.items()} == drifted, (
        "a check changes nothing"
    )

    repaired = play(scenario, "--verbose")
    assert repaired.returncode == 0, repaired.stdout
    for name in FOREIGN:
        assert name in said(repaired)
    for queue in ("spare_quorum", "spare_classic"):
        assert f"queue {queue}" in said(repaired)
        assert f"queue {queue} (" not in said(repaired), "nobody asked whether it could go"
    for name, broker in brokers.items():
        now = sections(broker.definitions())
        for kind in ("users", "permissions", "policies", "bindings"):
            assert set(before[name].objects[kind]) <= set(now[kind])
        assert not any("#.stale" in binding for binding in now["bindings"])
        assert broker.setting("consumer_timeout") == before[name].timeout
        assert process(broker) == before[name].process


def test_what_the_model_has_no_more_goes_only_when_empty_unused_and_asked_for(scenario, brokers, before):
    """Two pools that came and went, beside objects of somebody else that nothing may touch."""
    refused = play(scenario, "--verbose", "--extra-vars", "broker_prune=true", *TOPOLOGY)
    assert refused.returncode == 0, refused.stdout
    for queue in ("spare_quorum", "spare_classic"):
        assert said(refused).count(f"- queue {queue} (1 ready message)") == len(brokers), refused.stdout
    for broker in brokers.values():
        assert broker.drain("spare_quorum", "kit") == ["still to do"]
        assert broker.drain("spare_classic", "kit") == ["still to do"]

    pruned = play(scenario, "--extra-vars", "broker_prune=true", *TOPOLOGY)
    assert pruned.returncode == 0, pruned.stdout
    for name, broker in brokers.items():
        assert broker.drain("reports", "kit") == ["theirs"]
        held = broker.definitions()
        for section in ("users", "vhosts", "policies"):
            assert "reports" in {each["name"] for each in held[section]}
        broker.host.check_output(
            f"rabbitmqctl --quiet delete_vhost reports && rabbitmqctl --quiet delete_user reports "
            f"&& rabbitmqctl --quiet clear_policy -p {VHOST} reports"
        )
        with broker.channel("kit") as channel:
            channel.queue_delete("reports")
            channel.exchange_delete("reports")
        assert sections(broker.definitions()) == before[name].objects


@pytest.fixture
def made(broker: Broker) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a queue for the time of a test."""
    with broker.channel("kit") as channel:
        names = []

        def make(name: str, kind: str, **arguments: object) -> Any:
            given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
            channel.queue_declare(
                name, durable=True, auto_delete=False, arguments={"x-queue-type": kind, **given}
            )
            names.append(name)
            return channel

        yield make
        for name in names:
            channel.queue_delete(name)


def counting(broker: Broker) -> Count:
    def run(argv: list[str]) -> tuple[int, str, str]:
        done = broker.host.run(shlex.join(argv))
        return done.rc, done.stdout, done.stderr

    return counter(run, VHOST)


def test_counts_are_those_of_the_moment(broker, made):
    """They decide whether a queue may be deleted; of one that is not there nothing is known."""
    for kind in ("classic", "quorum"):
        channel = made(f"counted_{kind}", kind)
        for number in range(3):
            broker.publish(channel, "", f"counted_{kind}", str(number))
        channel.basic_qos(0, 1, False)
        channel.basic_consume(f"counted_{kind}", callback=lambda _: None, on_cancel=lambda _: None)
    assert counting(broker)(["counted_quorum", "counted_classic", "nobody's"]) == {
        "counted_classic": Counts(messages=3, ready=2, unacknowledged=1, consumers=1),
        "counted_quorum": Counts(messages=3, ready=2, unacknowledged=1, consumers=1),
        "nobody's": None,
    }


def test_dead_letters_that_wait_for_room_count(broker, made):
    made("full", "quorum", max_length=1, overflow="reject-publish")
    channel = made(
        *("dying", "quorum"),
        dead_letter_exchange="",
        dead_letter_routing_key="full",
        dead_letter_strategy="at-least-once",
        overflow="reject-publish",
    )
    for number in range(9):
        broker.publish(channel, "", "dying", str(number))
    while message := channel.basic_get("dying"):
        channel.basic_reject(message.delivery_tag, requeue=False)
    counts = counting(broker)(["dying"])["dying"]
    assert counts and counts.text == f"{counts.messages} waiting dead letters"


def limit(brokers: dict[str, Broker], disk: str, alarmed: bool) -> None:
    """Change the free space that brokers want, and wait until their management APIs tell of it."""
    for broker in brokers.values():
        broker.host.check_output(f"rabbitmqctl --quiet set_disk_free_limit {disk}")
    for broker in brokers.values():
        until(
            lambda each=broker: ('"disk_free_alarm":true' in each.ask("kit", "/api/nodes")) == alarmed,
            f"the alarm of {broker.name} is {'raised' if alarmed else 'over'}",
            90,
        )


def test_what_cannot_be_changed_in_place_is_refused_and_an_alarm_is_told(scenario, brokers):
    before = {name: sections(broker.definitions()) for name, broker in brokers.items()}
    limit(brokers, "900000000000000", alarmed=True)
    try:
        result = play(scenario, "--extra-vars", CLASSIC, *TOPOLOGY)
    finally:
        limit(brokers, "1GB", alarmed=False)
    assert result.returncode != 0
    for queue in ("general_background", "general_scheduled"):
        assert f"queue {queue}: arguments.x-queue-type is quorum, wanted classic" in said(result)
    assert "playbooks/migrate_queue.yml" in said(result)
    for name in brokers:
        assert f"Node rabbit@{name} has raised its disk alarm: it takes no messages" in said(result)
    assert {name: sections(broker.definitions()) for name, broker in brokers.items()} == before


MIGRATE = ROOT / "playbooks" / "migrate_queue.yml"
CLASSIC = json.dumps({"fleet_environment_pools": {"general": {"queue_type": "classic"}}})
OTHER_TYPES = json.dumps(
    {"fleet_environment_pools": {"general": {"queue_type": "classic", "exchange_type": "direct"}}}
)
# Kills the migration, the one process of a broker's host that speaks AMQP to it, once the management API
# answers with a certain text.
KILL_MIGRATION = """
import base64, json, os, re, signal, subprocess, time, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:15672" + given["path"])
token = base64.b64encode(("kit:" + given["password"]).encode()).decode()
request.add_header("Authorization", "Basic " + token)
def begun():
    try:
        return given["text"] in urllib.request.urlopen(request, timeout=30).read().decode()
    except urllib.error.HTTPError:
        return False
end = time.monotonic() + 90
while time.monotonic() < end and not begun():
    time.sleep(0.02)
found = subprocess.check_output(["ss", "-Htnp", "dport = :5672"], text=True)
os.kill(int(re.search(r'"python3[.0-9]*",pid=([0-9]+)', found)[1]), signal.SIGKILL)
print("killed")
"""
# One is killed while it moves messages away, the other when the queue was just made anew.
MOMENTS = {
    NEW: ("/api/queues/celery_fleet/celery_fleet_migration.general_background", "general_background"),
    OLD: ("/api/queues/celery_fleet/general_background?columns=type", "classic"),
}


class Publisher(threading.Thread):
    """Publishes numbered messages one after the other, as a client that tries again after any error."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self.broker, self.sent, self.errors = broker, 0, []
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            try:
                with self.broker.channel("client") as channel:
                    while not self._end.is_set():
                        returned = self.broker.publish(
                            channel, "general_tasks", "general.background", str(self.sent)
                        )
                        if returned:
                            self.errors += returned
                        else:
                            self.sent += 1
                        # The queue must not fill: nobody takes from it.
                        self._end.wait(0.05)
            except amqp.exceptions.AMQPError as error:
                self.errors.append(str(error))

    def __enter__(self) -> Publisher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


@contextmanager
def publishing(brokers: dict[str, Broker]) -> Iterator[list[Publisher]]:
    """Publish to all brokers meanwhile."""
    new, old = (Publisher(broker) for broker in brokers.values())
    with new, old:
        yield [new, old]


def delayed(broker: Broker, seconds: int, bodies: list[str]) -> list[str]:
    """Publish tasks that come to the queue later, by a key that a direct exchange doesn't know."""
    with broker.channel("client") as channel:
        for body in bodies:
            key = f"{'.'.join(format(seconds, '028b'))}.general.background"
            assert broker.publish(channel, "celery_delayed_27", key, body) == []
    return bodies


def collect(broker: Broker, last: str) -> list[str]:
    """Take all messages out of the queue, until a certain one has come."""
    got: list[str] = []
    until(lambda: got.extend(broker.drain("general_background")) or last in got, f"{last} has come", 90)
    return got


def test_a_migration_under_load_loses_nothing_even_if_it_is_killed(scenario, brokers):
    """To other types of queue and exchange, killed and repeated; then back, undisturbed."""
    before = {name: durable(broker) for name, broker in brokers.items()}
    for change, killed, seconds in ((OTHER_TYPES, True, 32), ("{}", False, 16)):
        # The first are in the queue when the migration begins, the last on its way while it goes on.
        later = {
            name: [*delayed(broker, 1, ["a", "b", "c"]), *delayed(broker, seconds, ["z"])]
            for name, broker in brokers.items()
        }
        with publishing(brokers) as publishers, ThreadPoolExecutor() as pool:
            for publisher in publishers:
                until(lambda each=publisher: each.sent >= 50, "a load of 50 tasks", 90)
            if killed:
                killing = [pool.submit(kill_migration, broker) for broker in brokers.values()]
                assert play(scenario, "--extra-vars", change, playbook=MIGRATE).returncode != 0
                assert [each.result() for each in killing] == ["killed"] * len(brokers)
            result = play(scenario, "--extra-vars", change, playbook=MIGRATE)
            assert result.returncode == 0, result.stdout
        for publisher in publishers:
            name = publisher.broker.name
            wanted = [*later[name], *map(str, range(publisher.sent))]
            got = collect(publisher.broker, "z")
            assert set(wanted) == set(got)
            assert len(got) <= len(wanted) + killed, "an interruption leaves one message twice at most"
            assert all("404" in error or "NO_ROUTE" in error for error in publisher.errors), publisher.errors
    assert {name: durable(broker) for name, broker in brokers.items()} == before


def kill_migration(broker: Broker) -> str:
    path, text = MOMENTS[broker.name]
    return broker.remote(KILL_MIGRATION, {"path": path, "text": text, "password": broker.passwords["kit"]})


def process(broker: Broker) -> str:
    """Return the process of the running broker."""
    return str(broker.host.check_output("systemctl show --property=MainPID --value rabbitmq-server"))


def durable(broker: Broker) -> dict[str, list[str]]:
    """Return the objects that outlive the broker: remote control declares others when it is used."""
    found = broker.definitions()
    for kind in ("exchanges", "queues"):
        found[kind] = [each for each in found[kind] if each["durable"]]
    return sections(found)


def sections(definitions: dict[str, Any]) -> dict[str, list[str]]:
    """Return the objects of definitions in an order that doesn't depend on the broker."""
    kinds = ("vhosts", "users", "permissions", "exchanges", "queues", "bindings", "policies")
    hidden = ("password_hash",)
    return {
        kind: sorted(
            json.dumps({key: value for key, value in each.items() if key not in hidden}, sort_keys=True)
            for each in definitions[kind]
        )
        for kind in kinds
    }
