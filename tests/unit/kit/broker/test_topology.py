"""The broker's topology against the figures of the guide and against kombu's own declarations."""

import copy
import re

import pytest
from fleet.broker.migration import overlap
from fleet.broker.objects import POLICY_PREFIX
from fleet.broker.topology import topology
from fleet.broker.versions import for_broker_version
from fleet.files.fleet_file import fleet_file
from fleet.files.users import fleet_users, host_users
from fleet.model.read import read_model
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.transport import native_delayed_delivery as kombu_delays
from support.fleet_model import LOADED
from support.guide import GUIDE


def policies(found):
    return {p["name"].removeprefix(POLICY_PREFIX): p["definition"] for p in found["policies"]}


def bindings(found):
    return {
        (b["source"], b["destination"], b["destination_type"], b["routing_key"]) for b in found["bindings"]
    }


def may(found, user, right, name):
    rights = next(p for p in found["permissions"] if p["user"] == user)
    return re.search(rights[right], name) is not None


def test_exchanges_queues_keys_and_lengths_of_the_guide(model):
    found = topology(model, {})
    exchanges = {e["name"]: e for e in found["exchanges"]}
    queues = {q["name"]: q for q in found["queues"]}
    for exchange, queue, key, length in GUIDE:
        assert exchanges[exchange]["type"] == "topic"
        assert exchanges[exchange]["durable"]
        assert queues[queue]["arguments"] == {"x-queue-type": "quorum"}
        assert (exchange, queue, "queue", key) in bindings(found)
        assert policies(found)[queue]["max-length"] == length


def test_a_classic_queue_has_the_priorities_that_it_names(model):
    cpu = model["pools"]["cpu"]
    cpu["queue_type"] = "classic"
    cpu["queues"]["cpu_ml_training"]["max_priority"] = 5
    queues = {q["name"]: q["arguments"] for q in topology(model, {})["queues"]}
    assert queues["cpu_ml_training"] == {"x-queue-type": "classic", "x-max-priority": 5}
    assert queues["cpu_video_processing"] == {"x-queue-type": "classic"}


def test_full_queues_refuse_and_dead_letters_are_kept(model):
    limits = policies(topology(model, {}))["cpu_ml_training"]
    del limits["max-length-bytes"]
    assert limits == {
        "max-length": 100,
        "overflow": "reject-publish",
        "dead-letter-exchange": "cpu_tasks_dead",
        "dead-letter-strategy": "at-least-once",
        "delivery-limit": 20,
        "consumer-disconnected-timeout": 5000,
        "consumer-timeout": 3_900_000,
    }


def test_each_pool_has_one_bounded_dead_letter_queue(model):
    found = topology(model, {})
    assert ("io_tasks_dead", "io_tasks_dead", "queue", "") in bindings(found)
    assert policies(found)["io_tasks_dead"]["max-length"] == 25_000  # as many as its queues
    assert policies(found)["cpu_tasks_dead"]["max-length"] == 10_000  # its queues hold 350
    assert policies(found)["io_tasks_dead"]["overflow"] == "reject-publish"


def test_a_rejected_dead_letter_goes_back_and_none_leaves_by_itself(model):
    limits = policies(topology(model, {}))["io_tasks_dead"]
    assert limits["dead-letter-exchange"] == "io_tasks"
    assert limits["dead-letter-strategy"] == "at-least-once"
    assert limits["delivery-limit"] == -1
    assert not {"message-ttl", "expires", "dead-letter-routing-key"} & limits.keys()


def test_classic_queues_carry_no_quorum_policies(model):
    model["pools"]["io"]["queue_type"] = "classic"
    limits = policies(topology(model, {}))["io_api_calls"]
    assert not {"delivery-limit", "dead-letter-strategy"} & limits.keys()


def test_drop_head_gets_no_strategy_that_needs_reject_publish(model):
    model["pools"]["io"]["overflow"] = "drop-head"
    assert "dead-letter-strategy" not in policies(topology(model, {}))["io_api_calls"]


def test_every_policy_matches_exactly_its_queue(model):
    found = topology(model, {})
    names = [queue["name"] for queue in found["queues"]]
    delays = [name for name in names if re.fullmatch(r"celery_delayed_\d+", name)]
    for policy in found["policies"]:
        matched = [name for name in names if re.search(policy["pattern"], name)]
        own = policy["name"].removeprefix(POLICY_PREFIX)
        assert matched == (delays if own == "celery_delayed_" else [own])


def most_bytes(found):
    """Return what all queues together may hold, each by its own policy."""
    names = [
        queue["name"] for queue in found["queues"] if queue["name"] not in ("fleet_verify", "fleet_beat")
    ]
    limits = [
        policy["definition"]["max-length-bytes"]
        for name in names
        for policy in found["policies"]
        if re.search(policy["pattern"], name)
    ]
    assert len(limits) == len(names)
    return sum(limits)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("room_mib", [4096, 16384, 1_000_000])
def test_all_queues_together_never_hold_more_than_the_brokers_disks(model, room_mib, direct):
    model["broker"]["max_backlog_mib"] = room_mib
    if direct:
        model["pool_defaults"]["exchange_type"] = "direct"
    model["pools"]["io"]["queues"]["io_api_calls"]["max_length"] = None
    found = topology(model, {})
    assert room_mib * 1024**2 * 0.99 < most_bytes(found) <= room_mib * 1024**2
    # No queue has room that its length never lets it use.
    assert policies(found)["memory_large_imports"]["max-length-bytes"] <= 50 * 16 * 1024**2
    assert policies(found)["cpu_tasks_dead"]["max-length-bytes"] == sum(
        policies(found)[queue]["max-length-bytes"] for queue in model["pools"]["cpu"]["queues"]
    )


def test_each_queue_has_room_for_a_task_of_the_largest_size(model):
    model["broker"] |= {"max_backlog_mib": 1024, "max_message_mib": 512}
    found = policies(topology(model, {}))
    assert {
        found[queue]["max-length-bytes"] for pool in model["pools"].values() for queue in pool["queues"]
    } == {512 * 1024**2}


def test_no_user_but_the_kits_may_take_all_connections(model):
    model["broker"]["max_connections"] = 300
    limits = {user["name"]: user["limits"] for user in topology(model, {})["users"]}
    assert limits.pop("kit") == {}
    assert all(each == {"max-connections": 300, "max-channels": 1200} for each in limits.values())


class Recorder:
    """Stands where kombu expects a channel and keeps what is declared on it."""

    def __init__(self):
        self.exchanges, self.queues, self.bindings = {}, {}, set()
        self.connection = self
        self.client = self

    def exchange(self, name, type):
        recorder = self

        class Exchange:
            def __init__(self):
                self.name, self.type = name, type

            def bind(self, _channel):
                return self

            def declare(self):
                recorder.exchanges[name] = type

            def bind_to(self, source, routing_key):
                recorder.bindings.add((getattr(source, "name", source), name, "exchange", routing_key))

        return Exchange()

    def queue(self, name, queue_arguments):
        recorder = self

        class Queue:
            def bind(self, _channel):
                return self

            def declare(self):
                recorder.queues[name] = queue_arguments

            def bind_to(self, source, routing_key):
                recorder.bindings.add((source, name, "queue", routing_key))

        return Queue()

    def channel(self):
        return self


def test_delays_are_exactly_what_kombu_would_declare(model, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(kombu_delays, "Exchange", recorder.exchange)
    monkeypatch.setattr(kombu_delays, "Queue", recorder.queue)
    kombu_delays.declare_native_delayed_delivery_exchanges_and_queues(recorder, "quorum")
    found = topology(model, {})
    delays = {q["name"]: q["arguments"] for q in found["queues"] if q["name"].startswith("celery_delayed_")}
    assert delays == recorder.queues
    types = {e["name"]: e["type"] for e in found["exchanges"]}
    assert recorder.exchanges.items() <= types.items()
    assert recorder.bindings <= bindings(found)


def test_delayed_tasks_find_their_queue(model):
    found = bindings(topology(model, {}))
    for exchange, queue, key, _ in GUIDE:
        assert ("celery_delayed_delivery", exchange, "exchange", f"#.{key}") in found
        assert (exchange, queue, "queue", f"#.{key}") in found


def test_a_task_delayed_before_its_exchange_became_direct_finds_its_queue(model):
    model["pools"]["general"]["exchange_type"] = "direct"
    found = {each[:3] for each in bindings(topology(model, {})) if each[3] == "#.general.background"}
    assert found == {("celery_delayed_delivery", "general_background", "queue")}


WORDS = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=3).map(".".join)


@given(st.lists(st.tuples(st.sampled_from(("topic", "direct")), WORDS), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_delayed_task_comes_to_its_queue_alone(chosen):
    """Whatever the pools' exchanges are: what the model lets pass reaches no second queue."""
    model = copy.deepcopy(LOADED)
    for pool, (kind, key) in zip(model["pools"].values(), chosen, strict=True):
        queue = next(iter(pool["queues"]))
        pool |= {"exchange_type": kind, "queues": {queue: {"routing_key": key, "max_length": 10}}}
    first = next(iter(model["pools"]["cpu"]["queues"]))
    model["routing"] = {"default_queue": first, "periodic_queue": first, "hints": {}, "rules": []}
    if read_model(model)[1].errors:
        return
    found = bindings(topology(model, {}))
    exchanges = {exchange["name"]: exchange["type"] for exchange in topology(model, {})["exchanges"]}

    def reached(exchange, key):
        for source, destination, kind, pattern in found:
            if source == exchange and overlap(exchanges[exchange], pattern, key):
                yield from [destination] if kind == "queue" else reached(destination, key)

    for pool in model["pools"].values():
        if pool["exchange_type"] == "topic":
            ((queue, fields),) = pool["queues"].items()
            delayed = ".".join([*"0" * 27, "1", fields["routing_key"]])
            assert set(reached("celery_delayed_delivery", delayed)) == {queue}


def test_no_delays_without_topic_exchanges(model):
    model["pool_defaults"]["exchange_type"] = "direct"
    found = topology(model, {})
    assert not [q for q in found["queues"] if "celery" in q["name"]]
    assert not may(found, "client", "write", "celery_delayed_27")


def test_every_pool_has_a_user_of_its_own(model):
    users = [(user["name"], user["tags"]) for user in topology(model, {})["users"]]
    assert users == [
        ("kit", ["administrator"]),
        *((f"worker_{pool}", []) for pool in model["pools"]),
        ("client", []),
        ("monitor", ["monitoring"]),
        ("verify", []),
        ("dead_letters", []),
        ("beat", []),
    ]


def test_least_privilege(model):
    found = topology(model, {})
    for exchange, queue, _, _ in GUIDE:
        owner = f"worker_{exchange.removesuffix('_tasks')}"
        for user in (user["name"] for user in found["users"] if user["name"] != "kit"):
            assert may(found, user, "read", queue) is (user == owner)
            assert may(found, user, "read", f"{exchange}_dead") is (user == "dead_letters")
            assert may(found, user, "read", "former_tasks_dead") is (user == "dead_letters")
            assert may(found, user, "write", exchange) is (user != "monitor")
            assert not may(found, user, "configure", exchange)
            assert not may(found, user, "configure", queue)
            assert not may(found, user, "write", f"{exchange}_dead")
            assert not may(found, user, "write", f"x{exchange}")
            assert not may(found, user, "write", "amq.default")
    for right in ("configure", "write", "read"):
        for name in ("celery.pidbox", "celeryev", "fleet_verify", "celery_delayed_27", "cpu_tasks"):
            assert not may(found, "monitor", right, name)
    assert may(found, "worker_cpu", "write", "fleet_verify")
    assert not may(found, "worker_cpu", "read", "fleet_verify")
    assert not may(found, "client", "write", "fleet_verify")
    assert may(found, "verify", "read", "fleet_verify")
    assert may(found, "client", "write", "celery_delayed_27")


def test_a_worker_s_control_queues_are_those_of_its_own_nodes(model):
    found = topology(model, {})
    # The last one as the package names its queue.
    own = ("cpu_worker@h.example.com", "cpu_worker_2@h", "cpu_worker@h.0b0f3c398d3c7a8f4f6b1c9e7d3e6a4c")
    for right in ("configure", "write", "read"):
        for node in own:
            assert may(found, "worker_cpu", right, f"{node}.celery.pidbox")
        for node in ("io_worker@h", "x_cpu_worker@h", "cpu_workers@h", "cpu_worker_x@h"):
            assert not may(found, "worker_cpu", right, f"{node}.celery.pidbox")
        reply = "7d3e6a4c-0b0f-3c39-8d3c-7a8f4f6b1c9e.reply.celery.pidbox"
        assert may(found, "worker_cpu", right, reply)
        assert not may(found, "client", right, reply)


def reaches(found, user, key):
    """Whether a user's topic permission lets a delayed task with this key through."""
    return may_use(found, user, "celery_delayed_27", "0." * 27 + f"1.{key}")


def may_use(found, user, exchange, key):
    """Whether a user's topic permission lets it publish with a key."""
    (entry,) = [
        entry
        for entry in found["topic_permissions"]
        if (entry["user"], entry["exchange"]) == (user, exchange)
    ]
    return re.search(entry["write"], key) is not None


def test_nobody_but_the_scheduler_publishes_its_notes(model):
    found = topology(model, {})
    for user in ("client", "verify", "dead_letters", "worker_cpu", "worker_io"):
        assert not may_use(found, user, "io_tasks", "fleet_beat")
        for key in ("io.api", "fleet_beat.x", "xfleet_beat", ""):
            assert may_use(found, user, "io_tasks", key)
    assert "beat" not in {entry["user"] for entry in found["topic_permissions"]}


def test_a_pool_reaches_only_the_pools_that_its_tasks_call(model):
    model["pools"]["cpu"]["calls"] = ["io"]
    found = topology(model, {})
    for exchange, _, key, _ in GUIDE:
        called = exchange in ("cpu_tasks", "io_tasks")
        assert may(found, "worker_cpu", "write", exchange) is called
        assert reaches(found, "worker_cpu", key) is called
        assert may(found, "worker_io", "write", exchange)
        assert reaches(found, "worker_io", key)
        assert may(found, "client", "write", exchange)
    assert not reaches(found, "worker_cpu", "x.cpu.ml")
    assert not reaches(found, "worker_cpu", "1.cpu.ml")


def test_a_pool_that_calls_none_reaches_its_own(model):
    model["pools"]["memory"]["calls"] = []
    found = topology(model, {})
    assert may(found, "worker_memory", "write", "memory_tasks")
    assert not may(found, "worker_memory", "write", "general_tasks")


def test_a_pool_whose_exchanges_know_no_delay_has_no_way_to_it(model):
    model["pools"]["cpu"] |= {"calls": [], "exchange_type": "direct"}
    found = topology(model, {})
    assert not may(found, "worker_cpu", "write", "celery_delayed_27")
    assert not reaches(found, "worker_cpu", "cpu.ml")


def test_names_are_escaped_in_rights_and_patterns(model):
    model["pools"]["io"]["exchange"] = "io.tasks"
    found = topology(model, {})
    assert may(found, "client", "write", "io.tasks")
    assert not may(found, "client", "write", "ioxtasks")


def test_a_host_that_prefetches_more_raises_the_consumer_timeout(model):
    hosts = {"b1": {"groups": ["balanced_servers"], "pools": {"io": {"prefetch_multiplier": 40}}}}
    found = topology(model, hosts)
    assert policies(found)["io_api_calls"]["consumer-timeout"] == (40 * 300 + 300) * 1000
    assert found["consumer_timeout_ms"] == (40 * 300 + 300) * 1000


def test_a_consumer_timeout_is_never_shorter_than_the_brokers_own(model):
    model["pools"]["io"] |= {"time_limit": 10, "soft_time_limit": 5}
    assert policies(topology(model, {}))["io_api_calls"]["consumer-timeout"] == 1_800_000


@pytest.mark.parametrize(
    ("version", "timeout", "unlimited", "disconnected"),
    [
        ("3.10.8", False, False, False),
        ("3.12.1", True, False, False),
        ("4.0.5", True, True, False),
        ("4.2.9", True, True, False),
        ("4.3.2", True, True, True),
    ],
)
def test_keys_by_broker_version(model, version, timeout, unlimited, disconnected):
    found = policies(for_broker_version(topology(model, {}), version))
    assert ("consumer-timeout" in found["cpu_ml_training"]) is timeout
    assert ("delivery-limit" in found["cpu_tasks_dead"]) is unlimited
    for queue in ("cpu_ml_training", "cpu_tasks_dead", "fleet_beat"):
        assert ("consumer-disconnected-timeout" in found[queue]) is disconnected
    assert found["cpu_ml_training"]["delivery-limit"] == 20


def test_a_version_that_is_none(model):
    with pytest.raises(ValueError, match="is not a version"):
        for_broker_version(topology(model, {}), "unknown")


def test_fleet_file_of_a_client(model):
    found = fleet_file(model)
    assert found["schema"] == 2
    assert found["broker"] == {
        "nodes": [{"host": "10.0.0.1", "port": 5672}],
        "vhost": "celery_fleet",
        "user": "client",
        "password_file": "/etc/celery-fleet/secrets/client",
        "tls": None,
        "client_control": False,
        "max_message_size": 16 * 1024**2,
    }
    assert found["pools"]["cpu"]["queues"]["cpu_ml_training"] == {"routing_key": "cpu.ml"}
    assert found["routing"] == model["routing"]
    assert found["verify"]["queue"] == "fleet_verify"


def test_fleet_file_of_a_worker_has_the_hosts_own_fields(model):
    found = fleet_file(model, {"groups": ["balanced_servers"], "pools": {"io": {"acknowledgement": "early"}}})
    assert found["pools"]["io"]["acknowledgement"] == "early"
    assert found["pools"]["general"]["acknowledgement"] == "late"


def test_fleet_file_names_the_user_of_each_pool(model):
    cpu = fleet_file(model)["pools"]["cpu"]
    assert (cpu["user"], cpu["password_file"]) == ("worker_cpu", "/etc/celery-fleet/secrets/worker_cpu")


def test_fleet_file_says_how_connections_are_encrypted(model):
    model["broker"]["tls"] = True
    assert fleet_file(model)["broker"]["tls"] == {"ca_file": "/etc/celery-fleet/ca.pem"}


def test_fleet_file_says_where_the_dead_letters_of_each_pool_are(model):
    model["pools"]["general"]["exchange"] = "io_tasks"
    assert fleet_file(model)["dead_letters"] == {
        "user": "dead_letters",
        "password_file": "/etc/celery-fleet/secrets/dead_letters",
        "queues": {
            "cpu_tasks_dead": ["cpu"],
            "io_tasks_dead": ["io", "general"],
            "memory_tasks_dead": ["memory"],
        },
    }


def test_a_host_gets_the_passwords_that_it_needs(model):
    assert host_users(model) == ["client"]
    assert host_users(model, operates=True) == ["client", "verify", "dead_letters"]
    assert host_users(model, {"groups": ["cpu_servers"], "pools": {"io": {}}}) == [
        "client",
        "worker_cpu",
        "worker_io",
    ]
    assert {*host_users(model, {"groups": ["balanced_servers"]}, operates=True)} < {*fleet_users(model)}


def test_clients_send_remote_control_where_a_site_says_so(model):
    """They read answers, and no commands: those are the workers'."""

    def rights():
        return next(each for each in topology(model, {})["permissions"] if each["user"] == "client")

    uuid = "0b1c6f5e-6f1d-4c58-9a4b-0c9f5a0d2b11"
    assert (rights()["configure"], rights()["read"]) == ("^$", "^$")
    assert not re.match(rights()["write"], "celery.pidbox")
    model["broker"]["client_control"] = True
    declares = ["celery.pidbox", "reply.celery.pidbox", f"{uuid}.reply.celery.pidbox"]
    names = [*declares, "celeryev", f"celeryev.{uuid}", "io_worker@host.celery.pidbox", "io_api_calls"]
    given = {
        kind: [name for name in names if re.match(rights()[kind], name)]
        for kind in ("configure", "write", "read")
    }
    assert given == {"configure": declares, "write": [declares[0], declares[2]], "read": declares[1:]}
