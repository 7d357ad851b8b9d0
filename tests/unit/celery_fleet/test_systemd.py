from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_fleet.systemd import STOPPING, WATCHDOG, Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What systemd is to a unit: a datagram socket and its address in NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@celery-fleet-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(address if request.param == "path" else "\0" + address[1:])
        yield address, listener


def test_states_arrive_as_one_message(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    Notifier.from_environment({"NOTIFY_SOCKET": address}).send("READY=1", "STATUS=Consuming: ü")
    assert listener.recv(1024).decode() == "READY=1\nSTATUS=Consuming: ü"


def test_nothing_arms_the_watchdog_of_a_process_that_stops(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    notifier = Notifier(address)
    notifier.send(STOPPING, WATCHDOG, "STATUS=Stopping")
    notifier.send(WATCHDOG)
    notifier.send("READY=1", WATCHDOG)
    assert [listener.recv(1024) for _ in range(2)] == [
        b"STOPPING=1\nSTATUS=Stopping\nWATCHDOG_USEC=0",
        b"READY=1",
    ]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_socket_nothing_happens(environment: dict[str, str]) -> None:
    notifier = Notifier.from_environment(environment)
    assert notifier.address is None
    notifier.send("READY=1")


def test_a_socket_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(str(tmp_path / "gone")).send("READY=1")
    assert "Cannot notify systemd" in caplog.text


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_this_process_only(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier.from_environment(environment).watchdog == seconds
