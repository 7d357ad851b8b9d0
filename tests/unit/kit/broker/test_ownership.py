"""What is the fleet's own at a broker, and what of it may go."""

from __future__ import annotations

from typing import Any

import pytest
from fleet.broker.ownership import Ownership, check_fleet, record, record_key, recorded
from fleet.broker.reconcile import Key, State, compare
from fleet.findings import Findings
from fleet.host.names import FLEET
from hypothesis import given
from hypothesis import strategies as st

VHOST = "v"
NAMES = ("a", "b", "c")


def queue(kind: str = "quorum", **arguments: str) -> dict[str, Any]:
    return {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": kind, **arguments}}


def wanted(*names: str) -> dict[str, Any]:
    """A topology with an exchange and a queue of each name, and a user."""
    return {
        "vhost": VHOST,
        "users": [{"name": "kit"}],
        "exchanges": [{"name": name} for name in names],
        "queues": [{"name": name} for name in names],
    }


def state(ours: tuple[str, ...], theirs: tuple[str, ...] = (), **more: Any) -> State:
    """A broker with an exchange that leads to a queue of each name, and a policy for the queue."""
    found: State = {("user", "kit"): {}}
    for name in (*ours, *theirs):
        found["exchange", name] = {"type": "topic"}
        found["queue", name] = queue()
        found["binding", name, "queue", name, name] = {"arguments": {}}
        found["policy", f"celery_fleet.{name}"] = {"definition": {}}
    found[record_key(VHOST)] = record({(kind, name) for kind in ("exchange", "queue") for name in ours})
    return found | more


def gone(found: State, topology: dict[str, Any], in_use: dict[str, str] | None) -> set[Key]:
    ownership = Ownership(topology, found, in_use)
    desired = {key: found[key] for key in found if not _of(key, topology)}
    return {each.key for each in compare(found, desired, removable=ownership.removable).remove}


def _of(key: Key, topology: dict[str, Any]) -> bool:
    """Whether an object isn't in the model."""
    names = {each["name"] for each in topology["queues"]}
    if key[0] == "binding":
        return key[1:] not in {(name, "queue", name, name) for name in names}
    name = key[1].removeprefix("celery_fleet.")
    return key[0] in ("exchange", "queue", "policy") and name not in names


def test_nothing_of_ours_goes_unless_asked_for():
    assert gone(state(("a", "b")), wanted("a"), None) == set()
    assert Ownership(wanted("a"), state(("a", "b"))).surplus == {("exchange", "b"), ("queue", "b")}


def test_what_is_empty_and_unused_goes_with_all_that_belongs_to_it():
    assert gone(state(("a", "b")), wanted("a"), {}) == {
        ("binding", "b", "queue", "b", "b"),
        ("exchange", "b"),
        ("policy", "celery_fleet.b"),
        ("queue", "b"),
    }


def test_a_queue_in_use_stays_with_its_limits_and_the_exchange_that_leads_to_it():
    ownership = Ownership(wanted("a"), state(("a", "b")), {"b": "12 ready messages, 1 consumer"})
    assert ownership.reasons == {
        ("queue", "b"): "12 ready messages, 1 consumer",
        ("exchange", "b"): "queue b is bound to it",
    }
    assert gone(state(("a", "b")), wanted("a"), {"b": "12 ready messages"}) == set()


@pytest.mark.parametrize("by_policy", [True, False])
def test_what_a_kept_queue_dead_letters_to_stays_too(by_policy):
    found = state(("a", "b", "c"))
    if by_policy:
        found["policy", "celery_fleet.b"] = {"definition": {"dead-letter-exchange": "c"}}
    else:
        found["queue", "b"] = queue(**{"x-dead-letter-exchange": "c"})
    ownership = Ownership(wanted("a"), found, {"b": "1 ready message"})
    assert ownership.reasons["exchange", "c"] == "queue b leads to it"
    assert ownership.reasons["queue", "c"] == "exchange c leads to it"


def test_what_others_use_of_ours_stays():
    found = state(("a", "b", "c"), ("theirs",))
    found["binding", "theirs", "queue", "b", "k"] = {"arguments": {}}
    found["binding", "c", "queue", "theirs", "k"] = {"arguments": {}}
    ownership = Ownership(wanted("a"), found, {})
    assert ownership.reasons["queue", "b"] == "bound to exchange theirs, which isn't the fleet's"
    assert ownership.reasons["exchange", "c"] == "queue theirs is bound to it"
    assert not ownership.removable(("binding", "c", "queue", "theirs", "k"))
    assert not ownership.removable(("binding", "theirs", "queue", "b", "k"))


def test_users_of_ours_go_with_their_rights():
    found = state(("a",))
    found |= {("user", "worker_old"): {}, ("permission", "worker_old"): {}}
    found["permission", "reports"] = {}
    found |= {("topic_permission", name, "a"): {} for name in ("worker_old", "kit", "reports")}
    asked, not_asked = Ownership(wanted("a"), found, {}), Ownership(wanted("a"), found)
    for kind in ("user", "permission"):
        assert asked.removable((kind, "worker_old"))
        assert not not_asked.removable((kind, "worker_old"))
    assert asked.removable(("topic_permission", "worker_old", "a"))
    assert not_asked.removable(("topic_permission", "kit", "a")), "a rule of the model that it has no more"
    assert not asked.removable(("permission", "reports"))
    assert not asked.removable(("topic_permission", "reports", "a"))


names = st.sets(st.sampled_from(NAMES)).map(lambda found: tuple(sorted(found)))
edges = st.sets(
    st.tuples(
        st.sampled_from([*NAMES, "theirs"]),
        st.sampled_from(["queue", "exchange"]),
        st.sampled_from([*NAMES, "theirs"]),
    ),
    max_size=6,
)


@given(names, names, edges, st.sets(st.sampled_from(NAMES)), st.booleans())
def test_after_pruning_there_is_nothing_more_to_prune_and_nothing_foreign_is_gone(
    ours, model, lines, used, asked
):
    found = state(ours, ("theirs",))
    for source, kind, destination in lines:
        if ("exchange", source) in found and (kind, destination) in found:
            found["binding", source, kind, destination, "k"] = {"arguments": {}}
    model = tuple(name for name in model if name in ours)
    in_use = dict.fromkeys(used, "1 ready message") if asked else None
    removed = gone(found, wanted(*model), in_use)
    left = {key: value for key, value in found.items() if key not in removed}
    for key in removed:
        if key[0] in ("queue", "exchange"):
            assert asked
            assert key in recorded(found, VHOST)
            assert key[1] not in model
        assert not (key[0] == "queue" and key[1] in used)
    for key in left:
        if key[0] == "binding":
            assert ("exchange", key[1]) in left, "nothing that stays loses what it is bound to"
            assert (key[2], key[3]) in left
    assert gone(left, wanted(*model), in_use) == set()


@pytest.mark.parametrize(
    ("record_of", "site", "owner"),
    [
        (None, "staging", None),
        ("staging", "staging", None),
        (FLEET, FLEET, None),
        (FLEET, "staging", FLEET),
        ("staging", FLEET, "staging"),
    ],
)
def test_a_vhost_is_one_fleet_s(record_of, site, owner):
    found = Findings()
    state = {} if record_of is None else {record_key(VHOST): record(set(), record_of)}
    check_fleet(state, {"vhost": VHOST, "fleet": site}, found)
    assert [(each.id, each.value) for each in found] == ([("broker/another-fleet", VHOST)] if owner else [])
    assert all(f"of the fleet {owner}" in each.reason for each in found)


@pytest.mark.parametrize(
    ("known", "own", "refused"),
    [("", "b", False), ("a", "", False), ("a", "a", False), ("a", "b", True)],
)
def test_a_broker_knows_whose_passwords_its_users_have(known, own, refused):
    found = Findings()
    check_fleet({record_key(VHOST): record(set(), secrets=known)}, {"vhost": VHOST, "secrets": own}, found)
    assert [each.id for each in found] == ["broker/another-file"] * refused
