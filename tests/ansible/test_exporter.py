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
    assert plain == "/usr/bin/python3 -m fleet.host.exporter --allow 10.0.0.5 --allow mon.example"
    (encrypted,) = parse(service(exporter_tls=True))["Service"]["ExecStart"]
    assert encrypted.split()[3:] == [
        *("--certificate", "/etc/celery-fleet-exporter/exporter.pem"),
        *("--authority", "/etc/celery-fleet-exporter/ca.pem"),
    ]


def test_it_has_no_rights(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "these tests need systemd-analyze (package systemd)"
    unit = tmp_path / "celery-fleet-exporter.service"
    unit.write_text(service())
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout + rated.stderr
    values = parse(service())["Service"]
    assert values["User"] == ["celery-fleet-exporter"]
    assert values["SupplementaryGroups"] == ["celery-fleet"]
