"""The status of a broker is asked of RabbitMQ alone."""

from __future__ import annotations

import os
import pwd
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.celery_fleet.kit.plugins.modules import rabbitmq_status


class _EndError(Exception):
    """The module has ended."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a module for a server of this test's own, which gives its result."""
    result: dict[str, Any] = {}

    def exit_json(**values: Any) -> None:
        result.update(values)
        raise _EndError

    params = {"login_user": "monitor", "login_password": "secret", "vhost": "v", "timeout": 5}
    params |= {"ca_file": None, "on_host": True}
    made = SimpleNamespace(params=params, exit_json=exit_json, result=result)
    monkeypatch.setattr(rabbitmq_status, "AnsibleModule", lambda **_: made)
    return made


@pytest.mark.parametrize("rabbitmq", [os.getuid() + 1, None])
def test_a_stranger_on_its_port_is_told_no_password(
    module: Any, monkeypatch: pytest.MonkeyPatch, rabbitmq: int | None
) -> None:
    def getpwnam(name: str) -> Any:
        assert name == "rabbitmq"
        if rabbitmq is None:
            raise KeyError(name)
        return SimpleNamespace(pw_uid=rabbitmq)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        module.params["url"] = f"http://127.0.0.1:{port}"
        with pytest.raises(_EndError):
            rabbitmq_status.main()
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert module.result["error"] == (
        f"Not RabbitMQ but user {os.getuid()} listens on port {port}, so it is told no password"
    )


def test_nobody_on_its_port_is_a_broker_that_is_down(module: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    module.params["url"] = f"http://127.0.0.1:{port}"
    with pytest.raises(_EndError):
        rabbitmq_status.main()
    assert "told no password" not in module.result["error"]
