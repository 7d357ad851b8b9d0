"""RabbitMQ's definitions: what is read from them, what is written back, and what its API answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fleet.broker.api import BrokerError, Management
from fleet.broker.objects import POLICY_PREFIX
from fleet.broker.ownership import FIXED_KINDS, OWNER, Ownership, record_key
from fleet.broker.reconcile import Changes, compare
from fleet.broker.state import (
    current_state,
    desired_state,
    import_document,
    password_hash,
    password_matches,
    worth_listing,
)
from fleet.broker.topology import topology
from hypothesis import given
from hypothesis import strategies as st
from support.broker_definitions import FRESH, NAMED, PASSWORDS, SHA256, VHOST, WANTED, Definitions
from support.fleet_model import LOADED


def owned(
    broker: Definitions, wanted: dict[str, Any] = WANTED, in_use: dict[str, str] | None = None
) -> Ownership:
    return Ownership(wanted, current_state(broker.definitions, wanted, PASSWORDS), in_use)


def planned(
    broker: Definitions, wanted: dict[str, Any] = WANTED, in_use: dict[str, str] | None = None
) -> Changes:
    current = current_state(broker.definitions, wanted, PASSWORDS)
    return compare(
        current,
        desired_state(wanted, current),
        fixed=FIXED_KINDS,
        removable=Ownership(wanted, current, in_use).removable,
    )


def apply(broker: Definitions, todo: Changes) -> None:
    broker.load(import_document(todo.create + todo.change, VHOST, PASSWORDS, lambda size: b"s" * size))
    for each in todo.remove:
        broker.remove(each.key)


@pytest.fixture
def broker() -> Definitions:
    """Return a broker that has everything that is wanted."""
    made = Definitions(FRESH)
    apply(made, planned(made))
    return made


def entry(broker: Definitions, section: str, name: str) -> dict[str, Any]:
    return next(each for each in broker.definitions[section] if each["name"] == name)


def test_a_fresh_broker_gets_everything_and_loses_guest():
    broker = Definitions(FRESH)
    todo = planned(broker)
    objects = sum(len(WANTED.get(section, ())) for section in NAMED)
    assert len(todo.create) == objects + len([("vhost", VHOST), record_key(VHOST)])
    assert [each.key for each in todo.remove] == [("user", "guest")]
    apply(broker, todo)
    assert planned(broker).empty
    assert "other" in {user["name"] for user in broker.definitions["users"]}


@given(st.data())
def test_whatever_is_missing_or_changed_is_put_right(data):
    broker = Definitions(FRESH)
    apply(broker, planned(broker))
    for section, fields in {
        "policies": {"pattern": ".*", "priority": 9, "definition": {"max-length": 1}},
        "permissions": {"write": ".*", "read": ".*"},
        "users": {"tags": ["administrator", "management"], "password_hash": ""},
        "bindings": {},
        "queues": {},
        "exchanges": {},
    }.items():
        kept = []
        for each in broker.definitions[section]:
            fate = data.draw(st.sampled_from(["kept", "kept", "kept", "gone", "changed"]))
            if fate == "changed" and fields:
                field = data.draw(st.sampled_from(sorted(fields)))
                kept.append(each | {field: fields[field]})
            elif fate != "gone" or each.get("name") == "other":
                kept.append(each)
        broker.definitions[section] = kept
    apply(broker, planned(broker))
    assert planned(broker).empty


@pytest.mark.parametrize(
    ("section", "name", "change"),
    [
        ("queues", "cpu_ml_training", {"arguments": {"x-queue-type": "classic"}}),
        ("queues", "cpu_ml_training", {"arguments": {"x-queue-type": "quorum", "x-max-length": 5}}),
        ("queues", "fleet_verify", {"durable": False}),
        ("exchanges", "cpu_tasks", {"type": "direct"}),
        ("exchanges", "cpu_tasks", {"arguments": {"alternate-exchange": "x"}}),
        ("exchanges", "cpu_tasks", {"internal": True}),
    ],
)
def test_what_cannot_be_changed_in_place_is_blocked(broker, section, name, change):
    entry(broker, section, name).update(change)
    todo = planned(broker)
    assert [each.key for each in todo.blocked] == [(section.removesuffix("s"), name)]
    assert todo.differences == todo.blocked
    assert todo.blocked[0].explain()


def test_a_classic_queue_is_the_same_whether_the_broker_names_its_type_or_not(broker):
    entry(broker, "queues", "fleet_verify")["arguments"] = {}
    assert planned(broker).empty


def test_stale_bindings_and_policies_of_ours_are_removed_and_nobody_elses(broker):
    ours = {"source": "cpu_tasks", "destination_type": "queue", "destination": "io_api_calls"}
    theirs = ours | {"destination": "reports"}
    for binding in (ours, theirs, ours | {"source": "reports"}):
        broker.definitions["bindings"].append(binding | {"vhost": VHOST, "routing_key": "k", "arguments": {}})
    for name in (f"{POLICY_PREFIX}gone", "reports"):
        broker.definitions["policies"].append(
            {
                "vhost": VHOST,
                "name": name,
                "pattern": "^x$",
                "apply-to": "queues",
                "priority": 0,
                "definition": {},
            }
        )
    todo = planned(broker)
    assert [each.key for each in todo.differences] == [
        ("binding", "cpu_tasks", "queue", "io_api_calls", "k"),
        ("policy", f"{POLICY_PREFIX}gone"),
    ]


def without_io() -> dict[str, Any]:
    smaller = deepcopy(LOADED)
    del smaller["pools"]["io"]
    smaller["routing"] |= {"rules": [], "hints": {}}
    smaller["profiles"]["balanced_servers"] = {"pools": {"general": {}}}
    return topology(smaller, {})


def test_what_the_model_has_no_more_is_listed_and_left_alone(broker):
    found = {" ".join(key) for key in owned(broker, without_io()).surplus}
    assert {"exchange io_tasks", "queue io_api_calls", "queue io_tasks_dead"} <= found
    assert not planned(broker, without_io()).remove


def test_what_the_model_has_no_more_goes_when_asked_for_and_is_forgotten(broker):
    for _ in range(2):
        apply(broker, planned(broker, without_io(), {}))
    assert planned(broker, without_io(), {}).empty
    left = {each["name"] for section in ("queues", "exchanges") for each in broker.definitions[section]}
    assert not any(name.startswith("io_") for name in left)
    (record,) = (
        each["value"]
        for each in broker.definitions["global_parameters"]
        if each["name"] == f"{OWNER}.{VHOST}"
    )
    assert set(record["queues"]) == {each["name"] for each in broker.definitions["queues"]}


def test_users_of_ours_that_the_model_has_no_more_go_when_asked_for(broker):
    fewer = WANTED | {
        section: [each for each in WANTED[section] if each.get("user", each.get("name")) != "client"]
        for section in ("users", "permissions")
    }
    assert planned(broker, fewer).empty
    assert [each.key for each in planned(broker, fewer, {}).remove] == [
        ("permission", "client"),
        ("user", "client"),
    ]
    broker.definitions["permissions"].append(
        {"user": "client", "vhost": "/", "configure": "", "write": "", "read": ""}
    )
    assert ("user", "client") not in owned(broker, fewer, {}).surplus, "it works in another vhost, too"


def test_topic_permissions_are_part_of_the_topology(broker):
    rule = {"user": "monitor", "exchange": "cpu_tasks", "write": "^cpu", "read": ""}
    wider = WANTED | {"topic_permissions": [rule]}
    assert [each.key for each in planned(broker, wider).create] == [
        ("topic_permission", "monitor", "cpu_tasks")
    ]
    apply(broker, planned(broker, wider))
    assert planned(broker, wider).empty
    (stored,) = broker.definitions["topic_permissions"]
    assert stored == rule | {"vhost": VHOST}
    stored["write"] = ".*"
    assert [each.key for each in planned(broker, wider).change] == [
        ("topic_permission", "monitor", "cpu_tasks")
    ]
    apply(broker, planned(broker))
    assert "monitor" not in {each["user"] for each in broker.definitions["topic_permissions"]}
    assert planned(broker).empty


def test_what_celery_declares_by_itself_is_not_listed():
    for name in ("celeryev", "celery.pidbox", "reply.celery.pidbox", "cpu_worker@h.celery.pidbox"):
        assert not worth_listing(("exchange", name))
    assert worth_listing(("exchange", "celery"))


def test_other_vhosts_and_users_are_not_looked_at(broker):
    broker.definitions["queues"].append(
        {"vhost": "/", "name": "cpu_ml_training", "durable": False, "auto_delete": False, "arguments": {}}
    )
    assert planned(broker).empty


def test_a_password_that_differs_is_set_again_and_never_shown(broker):
    entry(broker, "users", "worker_io")["password_hash"] = password_hash("another", b"salt")
    todo = planned(broker)
    assert [each.key for each in todo.change] == [("user", "worker_io")]
    assert todo.change[0].explain() == ["user worker_io: password is another one, wanted as declared"]
    shown = repr(todo)
    assert PASSWORDS["worker_io"] not in shown
    assert entry(broker, "users", "worker_io")["password_hash"] not in shown


def test_a_password_is_recognised_by_rabbitmqs_own_hash():
    # The example of RabbitMQ's documentation: salt 908DC60A, password test12.
    stored = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    user = {"password_hash": stored, "hashing_algorithm": SHA256}
    assert password_hash("test12", bytes.fromhex("908DC60A")) == stored
    assert password_matches("test12", user)
    assert not password_matches("test13", user)
    assert not password_matches("test12", user | {"hashing_algorithm": "rabbit_password_hashing_md5"})
    assert not password_matches("", user | {"password_hash": ""})


class Handler(BaseHTTPRequestHandler):
    """Answers like the management API, and remembers what it was asked."""

    answers: dict[str, tuple[int, Any]]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.answers.get(f"{self.command} {self.path}", (204, None))
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def api() -> Iterator[type[Handler]]:
    """Serve answers on `api.url`."""
    handler: Any = type("Answers", (Handler,), {"answers": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler
        server.shutdown()
        thread.join()


def management(url: str, timeout: float = 5) -> Management:
    return Management(url, "kit", "secret-password", timeout)


def test_definitions_are_one_request(api):
    api.answers["GET /api/definitions"] = (200, FRESH)
    broker = management(api.url)
    assert broker.definitions() == FRESH
    assert broker.requests == 1


def test_removals_quote_names_and_ask_for_the_name_of_a_binding(api):
    binding = {"source": "a/b", "destination_type": "queue", "destination": "q", "arguments": {}}
    api.answers["GET /api/bindings/v%20h/e/a%2Fb/q/q"] = (
        200,
        [
            binding | {"routing_key": "#.x", "properties_key": "%23.x"},
            binding | {"routing_key": "x", "properties_key": "x"},
        ],
    )
    broker = management(api.url)
    broker.remove(("binding", "a/b", "queue", "q", "#.x"), "v h")
    broker.remove(("user", "guest"), "v h")
    broker.remove(("policy", "p.1"), "v h")
    assert api.asked == [
        "GET /api/bindings/v%20h/e/a%2Fb/q/q",
        "DELETE /api/bindings/v%20h/e/a%2Fb/q/q/%2523.x",
        "DELETE /api/users/guest",
        "DELETE /api/policies/v%20h/p.1",
    ]


def test_obstacles_are_told_with_node_and_alarm(api):
    nodes = [
        {"name": "rabbit@a", "running": True, "mem_alarm": False, "disk_free_alarm": True},
        {"name": "rabbit@b", "running": False},
    ]
    api.answers["GET /api/nodes?columns=name,running,mem_alarm,disk_free_alarm"] = (200, nodes)
    disk, down = management(api.url).obstacles()
    assert disk.startswith("Node rabbit@a has raised its disk alarm: it takes no messages")
    assert down == "Node rabbit@b is down."


def test_a_wrong_password_is_told_without_it(api):
    api.answers["GET /api/definitions"] = (401, {"error": "not_authorized", "reason": "Login failed"})
    with pytest.raises(BrokerError, match=r"refused user kit \(401\): the password is wrong") as refusal:
        management(api.url).definitions()
    assert "secret-password" not in str(refusal.value)


def test_a_refusal_is_told_in_the_brokers_words(api):
    reason = (
        'Validation failed\n\n[{&lt;&lt;"nonsense"&gt;&gt;,1}] are not recognised policy settings\n (v/p)'
    )
    api.answers["POST /api/definitions"] = (400, {"error": "bad_request", "reason": reason})
    with pytest.raises(BrokerError, match=r'\(400\): Validation failed .*<<"nonsense">>.* \(v/p\)'):
        management(api.url).load({"policies": []})


def test_a_broker_that_is_down_is_told_with_its_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BrokerError, match=rf"{url} gave no answer .*refused.*Is the node up"):
        management(url).definitions()


def test_a_broker_that_never_answers_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BrokerError, match=r"within 0\.2 s \(timed out\)"):
            management(url, timeout=0.2).definitions()
