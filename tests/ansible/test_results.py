"""What the results role writes, rendered as Ansible does: for both servers, with and without TLS."""

from __future__ import annotations

from typing import Any

import pytest
from fleet.host.names import installation
from support.units import parse, render

DEBIAN_13 = {"distribution": "Debian", "distribution_major_version": "13", "memtotal_mb": 8000}
DEFAULTS: dict[str, Any] = {
    "ansible_facts": DEBIAN_13 | {"default_ipv4": {"address": "10.0.0.9"}},
    "results_installation": installation("shop"),
    "results_server": "auto",
    "results_address": "results.example.com",
    "results_port": 6390,
    "results_tls": False,
    "results_tls_ca": "/etc/celery-fleet-results/tls/ca.pem",
    "results_tls_certificate": "/etc/celery-fleet-results/tls/server.pem",
    "results_memory": 0.1,
    "results_fsync": "everysec",
    "results_networks": [],
    "results_start_timeout": 600,
}


def rendered(template: str, **changes: Any) -> str:
    return render(template, role="results", **DEFAULTS | changes)


def server(**changes: Any) -> dict[str, str]:
    """The server's settings, each of which stands once."""
    lines = [line for line in rendered("server.conf.j2", **changes).splitlines() if line and line[0] != "#"]
    settings = dict(line.split(" ", 1) for line in lines)
    assert len(settings) == len(lines)
    return settings


def test_what_is_stored_is_kept_and_nobody_comes_in_without_a_password() -> None:
    settings = server()
    assert (settings["maxmemory"], settings["maxmemory-policy"]) == ("800mb", "noeviction")
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")
    assert settings["aclfile"] == "/etc/celery-fleet-results/users.acl"
    # An address of the host itself, where clients know it by a name.
    assert (settings["bind"], settings["port"]) == ("10.0.0.9 127.0.0.1", "6390")
    assert "tls-port" not in settings


def test_with_tls_the_plain_port_is_closed() -> None:
    settings = server(results_tls=True, results_address="10.0.0.7")
    assert (settings["port"], settings["tls-port"], settings["bind"]) == ("0", "6390", "10.0.0.7 127.0.0.1")
    assert settings["tls-cert-file"] == settings["tls-key-file"] == DEFAULTS["results_tls_certificate"]


def test_the_memory_of_a_container_counts() -> None:
    facts = {"ansible_facts": DEFAULTS["ansible_facts"] | {"fleet_limits": {"memory_mib": 1000}}}
    assert server(**facts)["maxmemory"] == "100mb"
    assert parse(rendered("results.service.j2", **facts))["Service"]["MemoryMax"] == ["264M"]


@pytest.mark.parametrize(
    ("choice", "release", "program"),
    [
        ("auto", "13", "valkey-server"),
        ("auto", "12", "redis-server"),
        ("redis", "13", "redis-server"),
        ("valkey", "12", "valkey-server"),
    ],
)
def test_whose_server_it_is(choice: str, release: str, program: str) -> None:
    facts = DEFAULTS["ansible_facts"] | {"distribution_major_version": release}
    unit = parse(rendered("results.service.j2", results_server=choice, ansible_facts=facts))
    assert unit["Service"]["ExecStart"] == [f"/usr/bin/{program} /etc/celery-fleet-results/server.conf"]


def test_a_packet_filter_only_where_networks_are_named() -> None:
    unit = parse(rendered("results.service.j2"))["Unit"]
    assert unit["Wants"] == ["network-online.target"]
    networks = ["10.0.0.0/24", "fd00::/8", "192.168.1.7"]
    unit = parse(rendered("results.service.j2", results_networks=networks))["Unit"]
    assert unit["Wants"] == ["network-online.target celery-fleet-results-firewall.service"]
    rules = [each.strip() for each in rendered("filter.nft.j2", results_networks=networks).splitlines()]
    assert "tcp dport != 6390 accept" in rules
    assert "ip saddr { 10.0.0.0/24, 192.168.1.7 } accept" in rules
    assert "ip6 saddr { fd00::/8 } accept" in rules
    assert rules[-3:] == ["reject with tcp reset", "}", "}"]
