"""What a site's vault holds for its application is whole on the host, and nowhere on the screen."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from fleet.host.application import read_variables
from support.ansible_runs import PREFLIGHT, Run, facts

ODD = "Tr0ub4dor&3\ntwo \\n 'single' \"double\" $HOME `id` \\ %d #no ü 🦄\t{# no comment #}"
UNSAFE = "Tr0ub4dor&4 {{ no_variable }} {% no statement %}"
TWO = "Tr0ub4dor&5"
OUT = "{{ out }}/{{ inventory_hostname }}.json"
BOTH = [
    # What a host gets, and the task that hands it over, which changes nothing in check mode.
    {
        "write": {
            "path": OUT,
            "content": "{{ [app_extras, worker_app, app_settings, worker_digests] | to_json }}",
        }
    },
    {
        "celery_fleet.kit.host_state": {
            "items": "{{ app_extras['items'] }}",
            "secrets": "{{ app_extras.secrets }}",
        },
        "check_mode": True,
        "become": False,
    },
]


def encrypted(text: str) -> str:
    """Encrypt a text as a site does, to stand in a file of variables."""
    lines = VaultLib().encrypt(text, VaultSecret(b"vault")).decode().splitlines()
    return "!vault |\n" + "".join(f"  {line}\n" for line in lines)


@pytest.fixture
def site(tmp_path: Path) -> Run:
    """A host, of which Ansible knows what it needs without asking."""
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(
        "brokers: {hosts: {broker1: }}\n"
        "workers: {children: {balanced_servers: {hosts: {io1: {ansible_connection: local}}}, cpu_servers: , "
        "memory_servers: }}\n"
    )
    password = tmp_path / "password"
    password.write_text("vault")
    (inventory / "group_vars" / "all.yml").write_text(
        f"vault_odd: {encrypted(ODD)}\n"
        f"""
fleet_accepted_findings: {{queue/no-consumer: two pools are elsewhere}}
fleet_app_secrets:
  ODD: "{{{{ vault_odd }}}}"
  UNSAFE: {{value: !unsafe '{UNSAFE}', readers: [io, general, commands]}}
  NUMBER: 5432
  AS_FILE: {{value: "{{{{ vault_odd }}}}", as: file, readers: [io]}}
fleet_app_environment: {{REGION: eu}}
"""
    )
    plays: list[Any] = [
        facts("brokers:workers", processor_vcpus=8, memtotal_mb=64300),
        PREFLIGHT,
        {"hosts": "workers", "gather_facts": False, "tasks": BOTH},
    ]
    return Run(tmp_path, inventory, plays)


def run(site: Run, *options: str) -> subprocess.CompletedProcess[str]:
    return site.run(f"--vault-password-file={site.path}/password", *options)


def test_a_secret_of_the_vault_arrives_whole_and_is_not_shown(site: Run) -> None:
    done = run(site, "-vvv", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    extras, worker_app, settings, digests = site.result("io1")
    contents = {name: base64.b64decode(text).decode() for name, text in extras["secrets"].items()}
    place = "etc/celery-fleet/application"
    assert read_variables(contents[f"{place}/io.env"]) == {"ODD": ODD, "UNSAFE": UNSAFE, "NUMBER": "5432"}
    assert read_variables(contents[f"{place}/commands.env"]).keys() == {"ODD", "UNSAFE", "NUMBER"}
    assert contents[f"{place}/io-AS_FILE"] == ODD
    assert f"{place}/general-AS_FILE" not in contents
    assert worker_app["environment"] == {"REGION": "eu"}
    assert worker_app["secrets"]["AS_FILE"] == {"as": "file", "readers": ["io"]}
    assert "secrets" not in settings
    assert digests["io"] != digests["general"]
    for text in (ODD, *ODD.splitlines(), UNSAFE, *extras["secrets"].values()):
        assert text not in done.stdout + done.stderr, text


def test_everything_that_is_wrong_is_told_at_once_without_a_value(site: Run) -> None:
    wrong = {
        "fleet_app_secrets": {
            "CELERY_BROKER_URL": TWO,
            "API": {"value": TWO, "readers": ["ioo"]},
            "N": {"vale": TWO},
        },
        "fleet_app_environment": {"SMTP_PASSWORD": TWO, "DB=": TWO},
    }
    text = (site.inventory / "group_vars" / "all.yml").read_text().partition("fleet_app_secrets")[0]
    lines = "".join(f"{name}: {value}\n" for name, value in wrong.items())
    (site.inventory / "group_vars" / "all.yml").write_text(text + lines)
    done = run(site)
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    for finding in ("app/taken-variable", "app/unknown-reader", "model/unknown-key", "model/bad-value"):
        assert f"[error] {finding}" in told
    assert told.count("did you mean") >= 2
    assert "[warning] app/plain-secret" in told
    assert TWO not in done.stdout + done.stderr
