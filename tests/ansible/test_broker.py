"""What the broker role writes, rendered as Ansible does and read as RabbitMQ does."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.celery_fleet.kit.plugins.modules import rabbitmq_migrate, rabbitmq_node

ROLE = Path(__file__).parents[2] / "roles" / "broker"

THREE = {
    name: {"node": f"rabbit@{name}", "address": f"10.0.0.{number}"}
    for number, name in enumerate(("one", "two", "three"), 1)
}


def variables(**changes: Any) -> dict[str, Any]:
    """Return the role's own variables, with changes; those in vars/ are templates themselves."""
    own = {
        name: trust_as_template(value) if isinstance(value, str) else value
        for name, value in yaml.safe_load((ROLE / "vars" / "main.yml").read_text()).items()
    }
    return {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        **own,
        "ansible_managed": "Managed",
        "ansible_facts": {"memtotal_mb": 16000},
        "ansible_play_hosts": list(THREE),
        "inventory_hostname": "one",
        "broker_members": {"one": THREE["one"]},
        "__broker_look": {"disk_mib": 500000},
        "broker_topology": {"consumer_timeout_ms": 7500000, "max_message_size": 33554432},
    } | changes


def render(text: str, **changes: Any) -> str:
    templar = Templar(loader=DataLoader(), variables=variables(**changes))
    return str(templar.template(trust_as_template(text)))


def settings(template: str, **changes: Any) -> dict[str, str]:
    """Read a file in RabbitMQ's format: `key = value`, one on each line."""
    text = render((ROLE / "templates" / template).read_text(), **changes)
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            key, value = line.split(" = ")
            assert key not in found
            found[key] = value
    return found


def test_the_defaults_keep_the_management_api_on_the_host() -> None:
    assert settings("celery-fleet.conf.j2") == {
        "listeners.tcp.default": "5672",
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": "15672",
        "vm_memory_high_watermark.absolute": "6400MiB",
        "disk_free_limit.absolute": "16000MiB",
        "max_message_size": "33554432",
        "loopback_users.guest": "true",
        "loopback_users.kit": "true",
    }


def test_every_setting_can_be_changed() -> None:
    assert settings(
        "celery-fleet.conf.j2",
        broker_port=5673,
        broker_management_address="10.0.0.1",
        broker_management_port=15673,
        broker_memory_watermark=0.6,
        broker_disk_free_limit="20GB",
    ) == {
        "listeners.tcp.default": "5673",
        "management.tcp.ip": "10.0.0.1",
        "management.tcp.port": "15673",
        "vm_memory_high_watermark.absolute": "9600MiB",
        "disk_free_limit.absolute": "20GB",
        "max_message_size": "33554432",
    }


@pytest.mark.parametrize(
    ("address", "hosts", "listener"),
    [
        ("127.0.0.1", ["one"], "127.0.0.1:5672"),
        ("localhost", ["one"], "127.0.0.1:5672"),
        ("10.0.0.1", ["one"], "5672"),
        # By a proxy on each of them.
        ("127.0.0.1", ["one", "two"], "5672"),
    ],
)
def test_a_broker_for_its_own_host_listens_there_alone(address: str, hosts: list[str], listener: str) -> None:
    derived = yaml.safe_load((ROLE.parents[1] / "group_vars/all/derived.yml").read_text())
    given = {
        "broker_address": address,
        "groups": {"workers": hosts},
        "broker_listen_address": trust_as_template(derived["broker_listen_address"]),
    }
    assert settings("celery-fleet.conf.j2", **given)["listeners.tcp.default"] == listener
    encrypted = settings("celery-fleet.conf.j2", broker_tls=True, **given)
    assert encrypted["listeners.ssl.default"] == listener


@pytest.mark.parametrize(
    ("memory", "limit", "share", "expected"),
    [
        (16000, None, 0.4, "6400MiB"),
        (16000, 4000, 0.4, "1600MiB"),
        (16000, 64000, 0.5, "8000MiB"),
        (512, None, "0.2", "102MiB"),
    ],
)
def test_the_memory_watermark_is_a_share_of_what_the_broker_may_use(
    memory: int, limit: int | None, share: Any, expected: str
) -> None:
    facts = {"memtotal_mb": memory, "fleet_limits": {"memory_mib": limit}}
    found = settings("celery-fleet.conf.j2", ansible_facts=facts, broker_memory_watermark=share)
    assert found["vm_memory_high_watermark.absolute"] == expected


@pytest.mark.parametrize(("disk", "expected"), [(500000, "16000MiB"), (40000, "4000MiB")])
def test_the_disk_limit_is_the_memory_or_a_tenth_of_the_disk(disk: int, expected: str) -> None:
    found = settings("celery-fleet.conf.j2", __broker_look={"disk_mib": disk})
    assert found["disk_free_limit.absolute"] == expected


def test_a_cluster_pauses_minorities_and_a_single_broker_never() -> None:
    assert settings("cluster.conf.j2", broker_members=THREE) == {
        "cluster_name": "celery_fleet",
        "cluster_partition_handling": "pause_minority",
        "net_ticktime": "10",
        "queue_leader_locator": "balanced",
    }
    assert "cluster_partition_handling" not in settings("cluster.conf.j2")


def test_nodes_know_each_other_by_name() -> None:
    text = render((ROLE / "templates" / "inetrc.j2").read_text(), broker_members=THREE)
    assert [line for line in text.splitlines() if not line.startswith("%")] == [
        '{host, {10,0,0,1}, ["one"]}.',
        '{host, {10,0,0,2}, ["two"]}.',
        '{host, {10,0,0,3}, ["three"]}.',
        "{lookup, [file, native]}.",
    ]


def test_a_single_broker_keeps_the_nodes_ports_to_the_host() -> None:
    assert '{host, {127,0,0,1}, ["one"]}.' in render((ROLE / "templates" / "inetrc.j2").read_text())
    assert "ListenStream=127.0.0.1:4369\n" in render((ROLE / "templates" / "epmd.socket.conf.j2").read_text())
    alone = render((ROLE / "templates" / "rabbitmq-env.conf.j2").read_text())
    assert alone.count("inet_dist_use_interface {127,0,0,1}") == len(("server", "commands"))


def looks(*internode: bool | None, joined: int = 3) -> dict[str, Any]:
    """Return what was seen of the three nodes: whether they speak TLS, the first ones of a cluster."""
    return {
        name: {
            "__broker_look": {
                "internode_tls": each,
                "node": {"known": list(THREE) if number < joined else [name]},
            }
        }
        for number, (name, each) in enumerate(zip(THREE, internode, strict=True))
    }


TLS = {"broker_tls": True, "broker_internode_tls": True, "broker_members": THREE}
NEW, PLAIN, ENCRYPTED = (None,) * 3, (False,) * 3, (True,) * 3


@pytest.mark.parametrize(
    ("seen", "changes", "encrypted", "switches"),
    [
        (NEW, {}, True, False),
        (NEW, {"broker_internode_tls": False}, False, False),
        (NEW, {"broker_tls": False}, False, False),
        # One that runs keeps what it has, and so do the nodes that join it.
        (PLAIN, {}, False, False),
        ((False, None, None), {}, False, False),
        (ENCRYPTED, {"broker_internode_tls": False}, True, False),
        (PLAIN, {"broker_switch_internode_tls": "true"}, True, True),
        (ENCRYPTED, {"broker_tls": False, "broker_switch_internode_tls": True}, False, True),
        # Cut short in between; and when all is done.
        ((True, False, False), {"broker_switch_internode_tls": True}, True, True),
        (ENCRYPTED, {"broker_switch_internode_tls": True}, True, False),
    ],
)
def test_a_new_cluster_encrypts_and_one_that_runs_is_switched_by_name(
    seen: tuple[bool | None, ...], changes: dict[str, Any], encrypted: bool, switches: bool
) -> None:
    given = {**TLS, "hostvars": looks(*seen), **changes}
    text = render((ROLE / "templates" / "rabbitmq-env.conf.j2").read_text(), **given)
    assert text.count("-proto_dist inet_tls") == (len(("server", "commands")) if encrypted else 0)
    assert render("{{ __broker_switches }}", **given) == str(switches)
    gone = render("{{ __broker_items | selectattr('absent', 'defined') | map(attribute='absent') }}", **given)
    assert ("internode.config" in gone) is not encrypted


@pytest.mark.parametrize("silent", [{}, {"known": []}])
def test_a_node_that_does_not_answer_is_no_obstacle(silent: dict[str, Any]) -> None:
    seen = looks(False, False, False)
    seen["two"]["__broker_look"]["node"] = silent
    del seen["three"]["__broker_look"]
    assert render("{{ __broker_internode_tls }}", **TLS, hostvars=seen) == "False"
    for look in seen.values():
        look.get("__broker_look", {})["node"] = silent
    assert render("{{ __broker_internode_now }}", **TLS, hostvars=seen) == "[False]"


@pytest.mark.parametrize(("joined", "encrypted"), [(2, False), (0, True)])
def test_a_node_without_others_follows_those_of_a_cluster(joined: int, encrypted: bool) -> None:
    seen = looks(False, False, True, joined=joined) if joined else looks(None, None, True, joined=0)
    given = TLS | {"hostvars": seen, "inventory_hostname": "three"}
    assert render("{{ __broker_internode_tls }}", **given) == str(encrypted)


def test_a_node_that_has_just_ended_says_what_it_will_start_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_file = tmp_path / "rabbitmq-env.conf"
    monkeypatch.setattr(rabbitmq_node, "SETTINGS", settings_file)
    monkeypatch.setattr(rabbitmq_node, "call", lambda *_: "0\n")
    assert rabbitmq_node.arguments(True) == rabbitmq_node.arguments(False) == ""
    settings_file.write_text("DIST_PORT=25672\n")
    assert rabbitmq_node.arguments(True) == rabbitmq_node.arguments(False) == "DIST_PORT=25672\n"
    monkeypatch.setattr(rabbitmq_node, "call", lambda *_: f"{os.getpid()}\n")
    assert "python" in rabbitmq_node.arguments(True)


def test_both_ends_between_nodes_show_a_certificate() -> None:
    files = {f"broker_tls_{name}": f"/tls/{name}" for name in ("ca", "certificate", "key")}
    text = render((ROLE / "templates" / "internode.config.j2").read_text(), **TLS, **files)
    server, client = text.split("{client, [")
    assert "{server, [" in server and "{fail_if_no_peer_cert, true}" in server
    for end in (server, client):
        assert "{verify, verify_peer}" in end
        assert '{cacertfile, "/tls/ca"}' in end
    assert (text.count("["), text.count("{")) == (text.count("]"), text.count("}"))


def test_only_the_other_nodes_are_let_in() -> None:
    text = render((ROLE / "templates" / "celery-fleet.nft.j2").read_text(), broker_members=THREE)
    assert "ip saddr { 10.0.0.1, 10.0.0.2, 10.0.0.3 } accept" in text
    assert "tcp dport != { 4369, 25672, 35672-35682 } accept" in text
    socket = render((ROLE / "templates" / "epmd.socket.conf.j2").read_text(), broker_members=THREE)
    assert "ListenStream=4369\n" in socket


@pytest.mark.parametrize(
    ("reached", "last"), [(["one", "two", "three"], "three"), (["one", "two"], "two"), (["one"], "one")]
)
def test_the_last_node_that_is_reached_works_for_all(reached: list[str], last: str) -> None:
    for host in reached:
        given = {"inventory_hostname": host, "ansible_play_hosts": reached, "broker_members": THREE}
        assert render("{{ __broker_last }}", **given) == str(host == last)


def test_the_consumer_timeout_is_the_topologys_in_milliseconds() -> None:
    assert settings("consumer-timeout.conf.j2") == {"consumer_timeout": "7500000"}


@pytest.mark.parametrize("plugins", [["rabbitmq_management"], ["rabbitmq_management", "rabbitmq_prometheus"]])
def test_the_plugins_are_an_erlang_list(plugins: list[str]) -> None:
    text = render((ROLE / "templates" / "enabled_plugins.j2").read_text(), broker_plugins=plugins)
    listed = re.fullmatch(r"\[([a-z_,]+)\]\.\n", text)
    assert listed
    assert listed[1].split(",") == plugins


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:15672"),
        ("0.0.0.0", "http://127.0.0.1:15672"),
        ("::", "http://127.0.0.1:15672"),
        ("10.0.0.1", "http://10.0.0.1:15672"),
    ],
)
def test_the_kit_connects_where_the_api_listens(address: str, url: str) -> None:
    assert render("{{ __broker_management_url }}", broker_management_address=address) == url


@pytest.mark.parametrize(
    ("login", "admitted"),
    [
        ({"status": 200, "json": {"tags": ["administrator"]}}, "True"),
        ({"status": 200, "json": {"tags": ["monitoring"]}}, "False"),
        ({"status": 401}, "False"),
        ({"status": -1}, "False"),
    ],
)
def test_only_an_administrator_is_admitted(login: dict[str, Any], admitted: str) -> None:
    assert render("{{ __broker_admitted }}", __broker_login=login) == admitted


def test_the_argument_specification_has_the_defaults() -> None:
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    given = {name: option["default"] for name, option in options.items() if "default" in option}
    assert given == yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    assert [name for name, option in options.items() if option.get("required")] == [
        "broker_topology",
        "broker_passwords",
        "broker_address",
        "broker_members",
        "broker_erlang_cookie",
    ]


class _FailedError(Exception):
    pass


def test_nothing_is_migrated_while_a_node_is_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(msg: str) -> None:
        raise _FailedError(msg)

    # It is asked for nothing else.
    trouble = SimpleNamespace(obstacles=lambda: ["Node rabbit@one has raised its disk alarm."])
    monkeypatch.setattr(rabbitmq_migrate, "Management", lambda *_: trouble)
    params = dict.fromkeys(rabbitmq_migrate.ARGUMENTS)
    with pytest.raises(_FailedError, match="Nothing was migrated: Node rabbit@one has raised its"):
        rabbitmq_migrate.run(SimpleNamespace(params=params, fail_json=fail))


def test_metrics_are_for_this_host_unless_it_is_told_otherwise() -> None:
    assert settings("metrics.conf.j2") == {"prometheus.tcp.ip": "127.0.0.1", "prometheus.tcp.port": "15692"}


def test_with_tls_metrics_are_for_those_who_have_a_certificate() -> None:
    found = settings(
        "metrics.conf.j2",
        broker_metrics_tls=True,
        broker_metrics_address="10.0.0.1",
        broker_tls_ca="/ca.pem",
        broker_tls_certificate="/own.pem",
        broker_tls_key="/own.pem",
    )
    assert found["prometheus.tcp.ip"] == "127.0.0.1"
    assert (found["prometheus.ssl.ip"], found["prometheus.ssl.port"]) == ("10.0.0.1", "15691")
    assert (found["prometheus.ssl.verify"], found["prometheus.ssl.fail_if_no_peer_cert"]) == (
        "verify_peer",
        "true",
    )
    assert {found[f"prometheus.ssl.{name}"] for name in ("cacertfile", "certfile", "keyfile")} == {
        "/ca.pem",
        "/own.pem",
    }


@pytest.mark.parametrize(
    ("changes", "filtered"),
    [
        ({}, False),
        ({"broker_members": THREE}, True),
        ({"broker_metrics": True}, False),
        ({"broker_metrics": True, "broker_metrics_address": "10.0.0.1"}, True),
        (
            {"broker_metrics": True, "broker_metrics_address": "10.0.0.1", "broker_metrics_tls": True},
            False,
        ),
    ],
)
def test_metrics_that_everybody_could_read_are_behind_a_filter(
    changes: dict[str, Any], filtered: bool
) -> None:
    assert render("{{ __broker_filtered }}", **changes) == str(filtered)
    assert ("nftables" in render("{{ __broker_packages }}", **changes)) == filtered


def test_only_monitoring_reaches_the_metrics() -> None:
    text = (ROLE / "templates" / "celery-fleet.nft.j2").read_text()
    there = {"broker_metrics": True, "broker_metrics_address": "10.0.0.1"}
    rules = render(text, **there, broker_metrics_peers=["10.0.0.9"])
    lines = [line.strip() for line in rules.splitlines()]
    assert "tcp dport != { 4369, 25672, 35672-35682, 15692 } accept" in lines
    accepted = lines.index("tcp dport 15692 ip saddr { 10.0.0.9 } accept")
    assert lines[accepted + 1] == "tcp dport 15692 reject with tcp reset"
    # Not even the other nodes of the cluster.
    assert accepted < lines.index("ip saddr { 10.0.0.1 } accept")
    assert "15692" not in render(text)


SOURCE = {
    "uris": ["https://one.example/debian", "https://two.example/debian"],
    "version": "4.2.9-1",
    "erlang": "1:27.*",
}


def test_the_source_of_the_packages_is_apt_s_with_its_key_and_exact_versions(tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN\n\nline\n-----END\n")
    given = {
        "broker_package_source": {**SOURCE, "signed_by": str(key)},
        "ansible_facts": {"distribution_release": "trixie"},
    }
    text = render((ROLE / "templates" / "packages.sources.j2").read_text(), **given)
    assert text.strip().splitlines()[1:] == [
        "Types: deb",
        "URIs: https://one.example/debian https://two.example/debian",
        "Suites: trixie",
        "Components: main",
        "Signed-By:",
        " -----BEGIN",
        " .",
        " line",
        " -----END",
    ]
    both = {**given["broker_package_source"], "erlang_uris": ["https://erlang.example"], "suite": "bookworm"}
    text = render(
        (ROLE / "templates" / "packages.sources.j2").read_text(), **given | {"broker_package_source": both}
    )
    first, second = text.strip().split("\n\n")
    assert second.splitlines()[:3] == ["Types: deb", "URIs: https://erlang.example", "Suites: bookworm"]
    assert "Signed-By:" in first

    pins = render((ROLE / "templates" / "packages.pref.j2").read_text(), **given)
    assert "Package: rabbitmq-server\nPin: version 4.2.9-1\nPin-Priority: 1001\n" in pins
    assert "Package: erlang-*\nPin: version 1:27.*\nPin-Priority: 1001" in pins


@pytest.mark.parametrize(("source", "kind"), [({}, "absent"), (SOURCE, "file")])
def test_a_source_that_is_no_longer_wanted_is_removed(source: dict[str, Any], kind: str) -> None:
    items = yaml.safe_load(render("{{ __broker_source_items }}", broker_package_source=source))
    assert [item[kind] for item in items] == [
        "/etc/apt/sources.list.d/celery-fleet-broker.sources",
        "/etc/apt/preferences.d/celery-fleet-broker",
    ]
