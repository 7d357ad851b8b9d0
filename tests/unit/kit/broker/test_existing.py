"""A broker that the kit does not install: what it forbids, what is somebody else's, what its queues hold."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fleet.broker import existing
from fleet.broker.api import RefusedError
from fleet.broker.counts import Counts
from fleet.broker.ownership import OWNER
from fleet.broker.rights import at_broker
from fleet.broker.state import current_state
from fleet.broker.topology import topology
from fleet.files.beat_file import beat_file
from fleet.files.fleet_file import fleet_file
from fleet.files.users import fleet_users
from support.broken_models import EXISTING
from support.fleet_model import LOADED

MODEL = {**LOADED, "broker": {**EXISTING, "user_prefix": "shop_"}}
WANTED = topology(MODEL, {})
CLIENT = {"name": "shop_client", "tags": [OWNER], "password_hash": ""}
HERE = {"user": "shop_client", "vhost": "shop"}


class Service:
    """What a broker's management API answers; a test changes it."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {
            "tags": ["administrator"],
            "version": "4.0.5",
            "vhosts": {"shop"},
            "definitions": {"users": [], "permissions": []},
            "vhost_limits": {},
            "operator_policies": [],
            "feature_flags": {"quorum_queue": "enabled"},
        }
        self.figures: dict[str, Any] = {}
        self.ready = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.given[name]

    def queue(self, vhost: str, name: str) -> dict[str, Any]:
        if not self.figures:
            raise RefusedError("Not Found", 404)
        return self.figures

    def has_ready(self, vhost: str, name: str) -> bool:
        return self.ready


@pytest.fixture
def service() -> Service:
    return Service()


def look(service: Service) -> dict[str, str]:
    """Return the reasons by what is refused."""
    found, _ = existing.check(service, "fleet", WANTED)
    assert all(finding.severity == "error" for finding in found)
    return {finding.value: finding.reason for finding in found}


def test_an_administrator_may_do_everything(service):
    assert look(service) == {}


@pytest.mark.parametrize(
    ("tags", "vhosts", "forbidden"),
    [
        (["management"], {"shop"}, ["users", "rights", "definitions", "policies"]),
        ([], set(), ["users", "rights", "definitions", "policies", "virtual host"]),
        (["monitoring", "policymaker"], {"shop"}, ["users", "rights", "definitions"]),
    ],
)
def test_all_that_others_may_not_do_is_named_at_once(service, tags, vhosts, forbidden):
    service.given |= {"tags": tags, "vhosts": vhosts, "definitions": None}
    assert list(look(service)) == forbidden


@pytest.mark.parametrize(
    ("name", "value", "what", "words"),
    [
        ("version", "3.9.13", "version", "3.10 at least"),
        ("version", "4.3.0", "version", "Use the next release"),
        ("vhost_limits", {"max-queues": 10}, "max-queues", "may have 10 queues"),
        ("vhost_limits", {"max-connections": 0}, "max-connections", "no connections"),
        ("feature_flags", {"quorum_queue": "disabled"}, "quorum_queue", "no quorum queues"),
        (
            "definitions",
            {"users": [CLIENT | {"tags": []}], "permissions": [HERE]},
            "shop_client",
            "that the kit did not make",
        ),
        (
            "definitions",
            {"users": [CLIENT], "permissions": [HERE, HERE | {"vhost": "staging"}]},
            "shop_client",
            "rights in staging",
        ),
    ],
)
def test_what_the_service_withholds_is_named(service, name, value, what, words):
    service.given[name] = value
    assert words in look(service)[what]


def test_what_is_no_obstacle(service):
    service.given |= {
        "vhost_limits": {"max-queues": -1, "max-connections": -1},
        "definitions": {"users": [CLIENT, {"name": "client", "tags": []}], "permissions": [HERE]},
    }
    assert look(service) == {}


def test_operator_policies_that_apply_to_the_fleet_are_told(service):
    policy = {"name": "most", "apply-to": "queues", "definition": {"max-length": 5}}
    service.given["operator_policies"] = [
        {**policy, "pattern": "^cpu_"},
        {**policy, "pattern": "^other$"},
        {**policy, "pattern": "^cpu_", "apply-to": "exchanges"},
    ]
    _, notes = existing.check(service, "fleet", WANTED)
    assert notes == ["The operator policy most of the broker also limits queues of the fleet: max-length 5"]


@pytest.mark.parametrize(
    ("figures", "ready", "expected"),
    [
        ({}, False, None),
        ({"state": "running"}, False, None),
        ({"state": "down", "messages": 0}, False, None),
        ({"messages": 3}, False, Counts(3, 0, 0, 0)),
        ({"consumers": 1}, True, Counts(0, 0, 0, 1)),
        ({"messages": 0}, True, Counts(1, 1, 0, 0)),
        ({"messages": 0}, False, Counts(0, 0, 0, 0)),
    ],
)
def test_a_queue_is_empty_only_if_its_figures_and_the_queue_itself_say_so(service, figures, ready, expected):
    zero = dict.fromkeys(("messages", "messages_ready", "messages_unacknowledged", "consumers"), 0)
    service.figures = (
        figures if not figures or "state" in figures else {"state": "running", **zero, **figures}
    )
    service.ready = ready
    assert existing.counter(service, "shop")(["q"]) == {"q": expected}


def test_the_fleets_users_have_names_of_their_own_there_and_here_the_usual_ones():
    users = [user["name"] for user in WANTED["users"]]
    assert "kit" not in users
    assert fleet_users(MODEL) == users
    there = at_broker(WANTED)
    assert [user["name"] for user in there["users"]] == [f"shop_{name}" for name in users]
    # The administrator is the site's, and keeps its name.
    assert {right["user"] for right in there["permissions"]} == {"fleet", *(f"shop_{name}" for name in users)}
    assert all(right["user"].startswith("shop_") for right in there["topic_permissions"])
    document = fleet_file(MODEL)
    logins = [document["broker"], document["verify"], document["dead_letters"], *document["pools"].values()]
    assert {login["user"] for login in [*logins, beat_file(MODEL)]} <= {f"shop_{name}" for name in users}
    assert document["broker"]["password_file"].endswith("/client")


def test_whom_the_site_lets_in_is_its_own_business():
    guest = {"users": [{"name": "guest", "tags": [], "password_hash": ""}]}
    assert ("user", "guest") not in current_state(guest, WANTED, {})
    assert ("user", "guest") in current_state(guest, copy.deepcopy(topology(LOADED, {})), {})


def test_a_fleet_with_a_name_has_users_of_that_name_at_a_broker_of_others():
    named = {**LOADED, "name": "staging", "broker": dict(EXISTING)}
    assert {each["name"] for each in at_broker(topology(named, {}))["users"]} >= {
        "staging_client",
        "staging_worker_io",
    }
    assert fleet_file(named)["broker"]["user"] == "staging_client"
    own = {**LOADED, "name": "staging"}
    assert "client" in {each["name"] for each in at_broker(topology(own, {}))["users"]}
