"""Three brokers as one: who is in it, who reaches it, and how nodes come, go and lose their data."""

from __future__ import annotations

import json
import math
import os
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import amqp
import pytest
from support.authority import Authority
from support.leaks import leaks
from support.scenario import ROOT, Scenario, tunnel

BROKERS = ("cluster-broker-1", "cluster-broker-2", "cluster-broker-3")
NODES = {f"rabbit@{name}" for name in BROKERS}
VHOST = "celery_fleet"
# Which no worker consumes.
QUEUE = "cpu_tasks_dead"
MESSAGES = 50
CONNECT = """
import socket, sys
for port in (4369, 25672):
    try:
        socket.create_connection((sys.argv[1], port), 5).close()
        print("open")
    except OSError:
        print("closed")
"""

SHOWN = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 25672)))"
# What nodes say to NODE: one with this host's certificate, one with another authority's, and one without.
PING = """
cd /tmp
sed s,/etc/rabbitmq/tls/broker.pem,/tmp/foreign.pem, OWN >foreign.config
cat >foreign.pem <<END
FOREIGN
END
chown rabbitmq foreign.pem
ping() {
  runuser --user rabbitmq -- env HOME=/var/lib/rabbitmq ERL_INETRC=/etc/rabbitmq/celery-fleet.inetrc \\
    erl -noinput -hidden -sname stranger "$@" \\
    -eval 'io:format("~p~n", [net_adm:ping(list_to_atom("NODE"))]), halt().' |
    grep --extended-regexp 'p[ao]ng$'
}
ping -proto_dist inet_tls -ssl_dist_optfile OWN
ping -proto_dist inet_tls -ssl_dist_optfile /tmp/foreign.config
ping
rm foreign.config foreign.pem
"""


@pytest.fixture(scope="module")
def brokers(host: Callable[[str], Any]) -> dict[str, Any]:
    return {name: host(name) for name in BROKERS}


def play(scenario: Scenario, *options: str, verb: str = "broker") -> subprocess.CompletedProcess[str]:
    """Run the brokers' playbook once more, or another."""
    return subprocess.run(
        ["ansible-playbook", f"playbooks/{verb}.yml", "-i", str(scenario.inventory), *options],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def without(scenario: Scenario, gone: str) -> list[str]:
    """Return the options that take a broker out of the inventory, for a run at the first one.

    At one node's turn also what concerns the whole cluster is done.
    """
    left = {
        name: {"node": f"rabbit@{name}", "address": scenario.address(name)}
        for name in BROKERS
        if name != gone
    }
    return ["--limit", BROKERS[0], "--extra-vars", json.dumps({"broker_members": left})]


def control(broker: Any, command: str) -> Any:
    return json.loads(broker.check_output(f"rabbitmqctl --quiet --formatter json {command}"))


def members(broker: Any) -> dict[str, set[str]]:
    """Return the members of each quorum queue of the fleet."""
    queues = control(broker, f"list_queues --vhost {VHOST} name type members")
    return {each["name"]: set(each["members"]) for each in queues if "quorum" in each["type"]}


def depth(broker: Any) -> int:
    queues = control(broker, f"list_queues --vhost {VHOST} name messages")
    return next(each["messages"] for each in queues if each["name"] == QUEUE)


def assert_whole(brokers: dict[str, Any]) -> None:
    """Every node knows and sees every other, and has a member of every queue."""
    with ThreadPoolExecutor() as executor:
        views = executor.map(lambda broker: control(broker, "cluster_status"), brokers.values())
    for name, status in zip(brokers, views, strict=True):
        assert set(status["disk_nodes"]) == set(status["running_nodes"]) == NODES, name
    lacking = {queue: found for queue, found in members(brokers[BROKERS[0]]).items() if found != NODES}
    assert lacking == {}


def publish(scenario: Scenario, authorities: str, number: int) -> None:
    """Publish confirmed messages to the first broker, whose certificate these authorities vouch for."""
    address = scenario.address(BROKERS[0])
    with tunnel(BROKERS[0], address, 5671) as here:
        connection = amqp.Connection(
            host=f"{here}:5671",
            ssl={"ca_certs": authorities, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": address},
            userid="kit",
            password=scenario.password("kit"),
            virtual_host=VHOST,
            confirm_publish=True,
        )
        with connection as opened:
            channel = opened.channel()
            for each in range(number):
                message = amqp.Message(str(each), delivery_mode=2)
                channel.basic_publish_confirm(message, exchange=QUEUE, routing_key="")


def flat(result: subprocess.CompletedProcess[str]) -> str:
    """Return what a run printed without its line breaks."""
    return " ".join(result.stdout.split())


def wipe(broker: Any) -> None:
    broker.check_output("systemctl stop rabbitmq-server && rm -r /var/lib/rabbitmq/mnesia")
    broker.check_output(
        "install --directory --owner=rabbitmq --group=rabbitmq --mode=0750 /var/lib/rabbitmq/mnesia"
    )


def test_every_node_is_in_it_and_has_a_member_of_every_queue(brokers):
    assert_whole(brokers)
    assert len(members(brokers[BROKERS[0]])) > 0


def test_leaders_are_spread(brokers):
    queues = control(brokers[BROKERS[0]], f"list_queues --vhost {VHOST} name type leader")
    leaders = Counter(each["leader"] for each in queues if "quorum" in each["type"])
    assert set(leaders) == NODES
    assert max(leaders.values()) <= math.ceil(leaders.total() / len(NODES)), leaders


def test_the_nodes_share_a_cookie_that_nobody_else_can_read(brokers):
    path = "/var/lib/rabbitmq/.erlang.cookie"
    for broker in brokers.values():
        cookie = broker.file(path)
        assert (cookie.user, cookie.mode) == ("rabbitmq", 0o400)
    assert len({broker.file(path).sha256sum for broker in brokers.values()}) == 1


def test_the_topology_and_the_limits_are_the_clusters(brokers):
    users = {
        name: {each["user"] for each in control(broker, "list_users")} for name, broker in brokers.items()
    }
    assert len(set(map(frozenset, users.values()))) == 1
    assert "guest" not in users[BROKERS[0]]
    timeouts = {
        broker.check_output("rabbitmqctl --quiet eval 'application:get_env(rabbit, consumer_timeout).'")
        for broker in brokers.values()
    }
    assert len(timeouts) == 1
    for broker in brokers.values():
        status = control(broker, "status")
        assert status["alarms"] == []
        flags = control(broker, "list_feature_flags name state stability")
        assert flags
        assert not [f["name"] for f in flags if f["stability"] == "stable" and f["state"] != "enabled"]


def test_the_nodes_own_ports_are_open_to_the_nodes_and_to_nobody_else(scenario, host, brokers):
    target = scenario.address(BROKERS[0])
    command = f"python3 -c '{CONNECT}' {target}"
    assert brokers[BROKERS[1]].check_output(command).split() == ["open", "open"]
    assert host("cluster-client").check_output(command).split() == ["closed", "closed"]
    assert host("cluster-worker").check_output(command).split() == ["closed", "closed"]


def test_nodes_speak_tls_with_each_other_and_with_nobody_without_a_certificate(scenario, brokers, tmp_path):
    first, second = (brokers[name] for name in BROKERS[:2])
    protocols = (
        "[element(4, proplists:get_value(address, I)) || {_, I} <- element(2, net_kernel:nodes_info())]"
    )
    for broker in brokers.values():
        # The others and the command itself.
        printed = broker.check_output(f"rabbitmqctl --quiet eval 'lists:usort({protocols}).'")
        assert printed.strip() == "[tls]"
    shown = second.check_output(f"python3 -c '{SHOWN}' {scenario.address(BROKERS[0])}")
    assert shown.strip() in first.file("/etc/rabbitmq/tls/broker.pem").content_string

    Authority("stranger").server(scenario.address(BROKERS[1]), tmp_path)
    (foreign,) = tmp_path.iterdir()
    script = PING.replace("FOREIGN", foreign.read_text()).replace("NODE", f"rabbit@{BROKERS[0]}")
    script = script.replace("OWN", "/etc/rabbitmq/celery-fleet-internode.config")
    answers = second.check_output(script).split()
    # With the cookie each; the first of them has a certificate, too.
    assert answers == ["pong", "pang", "pang"]


def test_status_reads_what_each_broker_shows_and_the_authority(scenario, tmp_path):
    file = tmp_path / "status.json"
    result = play(scenario, "-e", f"status_file={file}", "-e", "status_strict=false", verb="status")
    assert result.returncode == 0, result.stdout
    found = json.loads(file.read_text())["certificates"]
    assert [(each["kind"], each["level"], each["error"]) for each in found] == [
        *[("broker", "fine", "")] * len(BROKERS),
        ("authority", "fine", ""),
    ]
    assert [each["name"] for each in found[:-1]] == list(BROKERS)
    # A year and ten, since a moment ago.
    assert [each["days"] for each in found] == [364, 364, 364, 3649]


def test_a_second_run_changes_nothing(scenario):
    result = play(scenario)
    assert result.returncode == 0, result.stdout
    recap = result.stdout.partition("PLAY RECAP")[2]
    assert recap.count("changed=0 ") == recap.count("changed=") == len(scenario.hosts), recap


def test_connections_are_encrypted_and_nothing_else_is_open(brokers):
    for broker in brokers.values():
        listening = broker.check_output("ss --listening --tcp --numeric --no-header")
        assert ":5671 " in listening
        assert ":5672 " not in listening


def test_no_secret_can_be_found_on_any_host(scenario):
    assert {name: leaks(name, scenario.secrets) for name in scenario.hosts} == dict.fromkeys(
        scenario.hosts, ""
    )


def test_nodes_leave_lose_their_data_and_come_back_and_no_message_is_lost(scenario, host, brokers, tmp_path):
    first, second, third = (brokers[name] for name in BROKERS)
    authorities = tmp_path / "ca.pem"
    authorities.write_text(host("cluster-client").file("/etc/celery-fleet/ca.pem").content_string)
    publish(scenario, str(authorities), MESSAGES)

    # A run left this one stopped: a verb takes another one, and the next run starts it before it is refused.
    first.check_output("rabbitmqctl --quiet stop_app")
    listed = play(scenario, verb="dead_letters")
    assert listed.returncode == 0, listed.stdout
    assert QUEUE in listed.stdout
    refused = play(scenario, *without(scenario, BROKERS[2]))
    assert refused.returncode != 0
    assert f"rabbit@{BROKERS[2]} is in the cluster and runs, but is not in the inventory" in flat(refused)
    assert f"rabbit@{BROKERS[0]}" in control(first, "cluster_status")["running_nodes"]

    third.check_output("systemctl stop rabbitmq-server")
    left = play(scenario, *without(scenario, BROKERS[2]))
    assert left.returncode == 0, left.stdout
    two = NODES - {f"rabbit@{BROKERS[2]}"}
    assert set(control(first, "cluster_status")["disk_nodes"]) == two
    assert set(map(frozenset, members(first).values())) == {frozenset(two)}
    assert depth(first) == MESSAGES

    wipe(third)
    joined = play(scenario)
    assert joined.returncode == 0, joined.stdout
    assert_whole(brokers)
    assert depth(first) == MESSAGES

    # Without being forgotten, and with everybody in the inventory.
    wipe(second)
    second.check_output("systemctl start rabbitmq-server")
    rejoined = play(scenario, "--limit", BROKERS[1])
    assert rejoined.returncode == 0, rejoined.stdout
    assert_whole(brokers)
    assert depth(first) == MESSAGES
    first.check_output(f"rabbitmqctl --quiet purge_queue --vhost {VHOST} {QUEUE}")
