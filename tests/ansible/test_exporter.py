"""What the exporter role writes, rendered as Ansible does and read as systemd does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fleet.host.names import installation
from support.units import parse, render

GIVEN: dict[str, Any] = {"role": "exporter", "exporter_installation": installation("shop")}


def service(**changes: Any) -> str:
    return render("exporter.service.j2", **GIVEN, **changes)


@pytest.mark.parametrize(
    ("address", "listens"),
    [
        ("10.0.0.7", "10.0.0.7:9808"),
        ("2001:db8::7", "[2001:db8::7]:9808"),
        ("cpu1.example", "192.0.2.9:9808"),
    ],
)
def test_it_listens_on_an_address_of_the_host(address: str, listens: str) -> None:
    facts = {"default_ipv4": {"address": "192.0.2.9"}}
    text = render("exporter.socket.j2", **GIVEN, exporter_address=address, ansible_facts=facts)
    assert parse(text)["Socket"]["ListenStream"] == [listens]


def test_it_answers_the_monitoring_and_speaks_tls_where_the_fleet_does() -> None:
    (plain,) = parse(service(exporter_peers=["10.0.0.5", "mon.example"]))["Service"]["ExecStart"]
    asks = "/usr/bin/python3 -m fleet.host.exporter --node /run/celery-fleet-node.sock"
    assert plain == f"{asks} --allow 10.0.0.5 --allow mon.example"
    (encrypted,) = parse(service(exporter_tls=True))["Service"]["ExecStart"]
    assert encrypted.split()[5:] == [
        *("--certificate", "/etc/celery-fleet-exporter/exporter.pem"),
        *("--authority", "/etc/celery-fleet-exporter/ca.pem"),
    ]


def test_node_exporter_has_no_port() -> None:
    unit = parse(render("node.service.j2", **GIVEN))["Service"]
    assert unit["ExecStart"][0].split()[1:3] == ["--web.systemd-socket", "--collector.disable-defaults"]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK"]
    listens = parse(render("node.socket.j2", **GIVEN))["Socket"]
    assert listens["ListenStream"] == ["/run/celery-fleet-node.sock"]
    assert (listens["SocketUser"], listens["SocketMode"]) == (["celery-fleet-exporter"], ["0600"])


@pytest.mark.parametrize("name", ["exporter", "node"])
def test_it_has_no_rights(tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "these tests need systemd-analyze (package systemd)"
    unit = tmp_path / f"celery-fleet-{name}.service"
    unit.write_text(render(f"{name}.service.j2", **GIVEN))
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout + rated.stderr
    values = parse(unit.read_text())["Service"]
    assert values["User"] == ["celery-fleet-exporter"]
    assert values.get("SupplementaryGroups") == (["celery-fleet"] if name == "exporter" else None)
