"""What the broker role writes, rendered as Ansible does and read as RabbitMQ does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).parents[2] / "roles" / "broker"


def variables(**changes: Any) -> dict[str, Any]:
    """Give the role's own variables, with changes; those in vars/ are templates themselves."""
    own = {
        name: trust_as_template(value) if isinstance(value, str) else value
        for name, value in yaml.safe_load((ROLE / "vars" / "main.yml").read_text()).items()
    }
    return {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        **own,
        "ansible_managed": "Managed",
        "broker_topology": {"consumer_timeout_ms": 7500000},
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
        "vm_memory_high_watermark.relative": "0.4",
        "disk_free_limit.absolute": "1GB",
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
        "vm_memory_high_watermark.relative": "0.6",
        "disk_free_limit.absolute": "20GB",
    }


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
    ]
