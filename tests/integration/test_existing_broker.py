"""A broker that the kit did not install: everything that the fleet needs there, by its HTTPS API alone."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
import yaml
from fleet.broker.state import password_matches
from fleet.broker.topology import topology
from fleet.files.users import fleet_users
from support import fleet_model
from support.ansible_runs import ROOT, ansible
from support.authority import Authority
from support.vhost import VARIABLE, Management, Proxy

QUEUE = "cpu_ml_training"
POLICY = f"celery_fleet.{QUEUE}"
MODEL = fleet_model.load()
MODEL["broker"] |= {"managed": False, "api": "https://127.0.0.1", "administrator": "somebody"}


class Site:
    """A site that has a broker behind an address with TLS, and no host that the kit could touch."""

    def __init__(self, directory: Path) -> None:
        url = os.environ.get(VARIABLE, "")
        self.broker = Management(url)
        self.vhost = f"fleet_test_{uuid.uuid4().hex[:8]}"
        authority = Authority("site")
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(authority.pem)
        tls = authority.server("127.0.0.1", directory)
        self.proxy = Proxy(self.broker.host, urlsplit(url).port or 15672, tls).up()
        self.inventory = directory / "inventory"
        (self.inventory / ".secrets").mkdir(parents=True)
        users = fleet_users(MODEL)
        self.passwords = {"administrator": self.broker.password} | {user: uuid.uuid4().hex for user in users}
        self.secrets = self.inventory / ".secrets" / "vault.yml"
        self.secrets.write_text(yaml.safe_dump(self.passwords) + f"vault_id: {'a' * 40}-1\n")
        self.secrets.chmod(0o600)
        self.describe()

    def describe(self, **fields: object) -> None:
        """Write the inventory, with fields of the broker."""
        broker: dict[str, object] = {
            "managed": False,
            "vhost": self.vhost,
            "nodes": [self.broker.host],
            "port": 5672,
            "api": f"https://127.0.0.1:{self.proxy.port}",
            "administrator": self.broker.user,
            "user_prefix": f"{self.vhost}_",
            "ca": str(self.ca),
        }
        # What it says of all hosts is not meant for the controller.
        variables = {"fleet_broker": broker | fields, "ansible_become": True}
        # A busy machine needs its time for dozens of queues in one request.
        variables["broker_timeout"] = 120
        inventory = {"all": {"vars": variables, "hosts": {"unused": None}}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def run(self, playbook: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook on the site, and make sure that it showed no password."""
        path = str(ROOT / "playbooks" / playbook)
        run = ansible("ansible-playbook", "-i", str(self.inventory), *options, path, cwd=self.inventory)
        for secret in self.passwords.values():
            # A short one, as a test's broker may have, is part of other words.
            assert len(secret) < 8 or secret not in run.stdout + run.stderr
        return run

    def call(self, method: str, *path: str, **body: object) -> Any:
        return self.broker.call(method, *path, **body)

    def missing(self) -> bool:
        return self.vhost not in {each["name"] for each in self.call("GET", "vhosts")}

    def remove(self) -> None:
        self.proxy.down()
        names = [each["name"] for each in self.call("GET", "users")]
        gone = [("users", name) for name in names if name.startswith(self.vhost)]
        gone += [("vhosts", self.vhost), ("global-parameters", f"celery_fleet.{self.vhost}")]
        for path in gone:
            with suppress(HTTPError):  # a test that failed has not made it
                self.call("DELETE", *path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    try:
        yield site
    finally:
        site.remove()


def changed(run: subprocess.CompletedProcess[str]) -> bool:
    """Return whether the controller changed something, which a recap must say that it ran."""
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("localhost ") and "ok=" in line]
    assert "failed=0" in line, run.stdout
    return "changed=0" not in line


def test_a_fleet_at_a_broker_that_the_kit_did_not_install(site: Site) -> None:
    # Whom the site lets in for less may not do it, and all of that is said before anything is changed.
    limited = f"{site.vhost}_limited"
    site.call("PUT", "users", limited, password=site.broker.password, tags="management")
    site.describe(administrator=limited)
    refused = site.run("broker.yml")
    assert refused.returncode != 0
    text = " ".join(refused.stdout.split())
    for what in ("users", "rights", "definitions", "policies", "virtual host"):
        assert f"fleet_broker.administrator = {what}" in text, refused.stdout
    assert f"rabbitmqctl set_user_tags {limited} administrator" in text
    assert site.missing()

    # A check says the same as the run, and makes nothing.
    site.describe()
    assert changed(site.run("broker.yml", "--check"))
    assert site.missing()
    first = site.run("broker.yml")
    assert changed(first), first.stdout
    queues = {each["name"] for each in site.call("GET", "queues", site.vhost)}
    assert queues == {queue["name"] for queue in topology(MODEL, {})["queues"]}

    # What somebody changed is shown and repaired, and whom the site lets in beside the fleet stays.
    site.call("DELETE", "policies", site.vhost, POLICY)
    site.call("PUT", "users", f"{site.vhost}_client", password="another", tags="celery_fleet,management")
    drift = site.run("broker.yml", "--diff")
    assert changed(drift)
    assert POLICY in drift.stdout
    assert site.call("GET", "policies", site.vhost, POLICY)["definition"]["max-length"] == 100
    user = site.call("GET", "users", f"{site.vhost}_client")
    assert user["tags"] == ["celery_fleet"]
    assert password_matches(site.passwords["client"], user)
    assert limited in {each["name"] for each in site.call("GET", "users")}
    again = site.run("broker.yml", "--diff")
    assert not changed(again), again.stdout

    # A site of another fleet does not take the virtual host over.
    policies = site.call("GET", "policies", site.vhost)
    secrets = site.secrets.with_name("other.yml")
    secrets.write_text(site.secrets.read_text().replace("vault_id: a", "vault_id: b"))
    secrets.chmod(0o600)
    other = site.run("broker.yml", "-e", "fleet_name=staging", "-e", f"fleet_vault_file={secrets}")
    assert other.returncode != 0
    assert "broker/another-fleet" in other.stdout
    assert "broker/another-file" in other.stdout
    assert f"fleet_broker.vhost = {site.vhost}" in " ".join(other.stdout.split())
    assert site.call("GET", "policies", site.vhost) == policies

    status = site.run("status.yml", "-v")
    assert "error: ''" in status.stdout, status.stdout
    assert f"name: {QUEUE}" in status.stdout

    # The passwords of the fleet's users are replaced there, and the administrator's is left to the site.
    rotated = site.run("rotate_passwords.yml", "-e", "rotate=client,worker_cpu")
    assert rotated.returncode == 0, rotated.stdout
    secrets = yaml.safe_load(site.secrets.read_text())
    for name in ("client", "worker_cpu", "monitor"):
        user = site.call("GET", "users", f"{site.vhost}_{name}")
        assert password_matches(secrets[name], user)
        assert (secrets[name] != site.passwords[name]) == (name != "monitor")
    assert secrets["administrator"] == site.broker.password
