"""The staging queue of a move: what is made for it, and when it may go."""

from fleet.broker.counts import Counts
from fleet.broker.staging import OUTWARDS, STAGING, definitions, remove, routes
from fleet.broker.topology import topology
from support import fleet_model


class Broker:
    def __init__(self):
        self.removed = []

    def remove_if_there(self, key, vhost):
        self.removed.append((*key, vhost))


def test_every_queue_of_tasks_is_reached_at_once_and_after_a_delay():
    model = fleet_model.load()
    made = definitions(topology(model, {}), (4, 0))
    outwards = [each for each in made["bindings"] if each["source"] == OUTWARDS]
    keys = {
        queue["routing_key"]: pool["exchange"]
        for pool in model["pools"].values()
        for queue in pool["queues"].values()
    }
    at_once = {
        each["routing_key"]: each["destination"] for each in outwards if "*" not in each["routing_key"]
    }
    assert at_once == keys
    late = {
        each["routing_key"].replace("*.", ""): each["destination"]
        for each in outwards
        if "*" in each["routing_key"]
    }
    assert late == dict.fromkeys(keys, "celery_delayed_27")
    assert [binding["destination"] for binding in made["bindings"] if binding["source"] == STAGING] == [
        STAGING
    ]


def test_nobody_but_the_broker_limits_how_often_a_message_comes_back():
    for version, limit in (((3, 10), None), ((4, 0), -1)):
        [queue] = definitions(topology(fleet_model.load(), {}), version)["queues"]
        assert queue["arguments"].get("x-delivery-limit") == limit
        assert queue["arguments"]["x-single-active-consumer"]


def test_it_stays_while_anything_waits_there():
    broker = Broker()
    assert remove(broker, "fleet", lambda _: {STAGING: Counts(3, 0, 0, 0)}) == 3
    assert broker.removed == []
    assert remove(broker, "fleet", lambda _: {STAGING: Counts(0, 0, 0, 0)}) == 0
    assert [name for _, name, _ in broker.removed] == [STAGING, STAGING, STAGING, OUTWARDS]


def test_every_queue_of_a_former_broker_goes_to_the_exchange_that_it_had():
    wanted = topology(fleet_model.load(), {})
    ways = {way["exchange"]: way for way in routes(wanted)}
    queues = [queue for way in routes(wanted) for queue in way["queues"]]
    # Answers to verifications are nobody's.
    assert sorted(queues) == sorted(
        each["name"] for each in wanted["queues"] if each["name"] != "fleet_verify"
    )
    bound = {
        (each["source"], each["destination"], each["routing_key"])
        for each in wanted["bindings"]
        if each["destination_type"] == "queue"
    }
    for way in routes(wanted):
        for queue, key in way["queues"].items():
            assert not key or (way["exchange"], queue, key) in bound
    assert ways["celery_delayed_27"]["delayed"]
    assert ways["io_tasks_dead"]["letters"]
    assert next(iter(routes(wanted)[0]["queues"])) == "fleet_beat"
