"""Only plays that create make secrets, and hosts that have the secrets of another file are refused before."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet.files.vault_id import look, mark
from support.ansible_runs import ansible, tool
from support.fleet_model import ROOT

HOSTS = {"brokers": ["b1"], "workers": ["w1", "w2"], "clients": ["c1"]}
# What a play that reads gets, and whether it is in a state to be shown.
READ = {
    "hosts": "b1",
    "gather_facts": False,
    "tasks": [
        {
            "write": {
                "content": "{{ dict(passwords=fleet_passwords, cookie=fleet_erlang_cookie) | to_json }}",
                "path": "{{ out }}",
            }
        }
    ],
}
# What the role app gives a host: the mark before the passwords.
INSTALL = {
    "hosts": "workers:clients",
    "gather_facts": False,
    "tasks": [
        {
            "celery_fleet.kit.host_state": {
                "items": "{{ app_vault_id | celery_fleet.kit.vault_mark(root ~ '/etc/celery-fleet/vault_id') "
                "| map('combine', dict(owner=omit, group=omit)) }}"
            }
        }
    ],
}


class Environment:
    """An inventory of hosts that are directories, and its file of secrets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inventory = path / "inventory"
        self.vault = self.inventory / ".secrets" / "vault.yml"
        (path / "group_vars").mkdir()
        (path / "group_vars" / "all").symlink_to(ROOT / "group_vars/all")
        self.inventory.mkdir()
        self.write("hosts.yml", {group: {"hosts": dict.fromkeys(names)} for group, names in HOSTS.items()})

    def write(self, name: str, data: object) -> None:
        (self.inventory / name).write_text(yaml.safe_dump(data))

    def root(self, host: str) -> Path:
        """Return the directory that stands for a host's root."""
        return self.path / "hosts" / host

    def put(self, host: str, name: str, text: str) -> None:
        """Write a file of a host."""
        (self.root(host) / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root(host) / name).write_text(text)

    def secrets(self) -> dict[str, Any]:
        """Return the content of the file of secrets; empty if there is none."""
        found: dict[str, Any] = yaml.safe_load(self.vault.read_text()) if self.vault.exists() else {}
        return found

    def play(self, *plays: object, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run plays on hosts whose facts are what their directories hold."""
        known = {host: look(self.root(host)) for names in HOSTS.values() for host in names}
        facts = {
            "hosts": "brokers:workers:clients",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.set_fact": {
                        "cacheable": True,
                        "fleet_vault": "{{ known[inventory_hostname] | default({}) }}",
                    }
                }
            ],
        }
        (self.path / "play.yml").write_text(yaml.safe_dump([facts, *plays]))
        extra = {
            "ansible_connection": "local",
            "ansible_python_interpreter": tool("python"),
            "known": known,
            # The facts are set above, and none are gathered.
            "ansible_facts_modules": [],
            "out": str(self.path / "read.json"),
            "root": f"{self.path}/hosts/{{{{ inventory_hostname }}}}",
        }
        given = ["-i", str(self.inventory), "-e", json.dumps(extra), *options]
        return ansible("ansible-playbook", *given, "play.yml", cwd=self.path)

    def make(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run what all plays that create begin with."""
        return self.play(MAKE, options=options)

    def read(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a play that reads secrets."""
        return self.play(READ, options=options)

    def install(self) -> None:
        """Return all hosts what a run gives them, and make what is missing before."""
        for names in HOSTS.values():
            for host in names:
                self.put(host, "etc/celery-fleet/vault_id", "")
        run = self.play(MAKE, INSTALL)
        assert run.returncode == 0, run.stdout + run.stderr


MAKE = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/parts/make_secrets.yml")}


@pytest.fixture
def fleet(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def said(run: subprocess.CompletedProcess[str]) -> str:
    return " ".join((run.stdout + run.stderr).split())


def follow(fleet: Environment, section: str) -> None:
    """Do what a section of the docs says about the file, with the directories of the test."""
    page = (ROOT / "docs/concepts/secrets.md").read_text()
    (block,) = re.findall(rf"## {section}\n.*?```sh\n(.*?)```", page, re.DOTALL)
    commands = [line for line in block.splitlines() if line.startswith("install ")]
    assert commands
    for command in commands:
        here = command.replace("inventories/prod", str(fleet.inventory)).replace(
            "/backup", f"{fleet.path}/backup"
        )
        subprocess.run(here, shell=True, check=True)


def changed(run: subprocess.CompletedProcess[str]) -> set[int]:
    return {int(figure) for figure in re.findall(r"changed=(\d+)", run.stdout)}


def test_only_the_step_makes_secrets_and_names_them(fleet: Environment) -> None:
    unmade = fleet.read()
    assert unmade.returncode != 0
    assert re.search(
        rf"There is no secret kit, .* in {fleet.vault}: run site.yml or broker.yml first", said(unmade)
    )
    assert not fleet.vault.parent.exists()

    checked = fleet.make("--check")
    assert checked.returncode == 0, checked.stdout
    assert max(changed(checked)) == 1
    assert "Would make beat, client, " in said(checked)
    assert not fleet.vault.parent.exists()
    assert fleet.read("--check").returncode == 0
    assert not fleet.vault.parent.exists()

    made = fleet.make("-vv")
    assert made.returncode == 0, made.stdout
    found = fleet.secrets()
    assert {"kit", "client", "monitor", "erlang_cookie", "vault_id"} <= set(found)
    assert max(changed(made)) == 1
    assert "Made beat, client, " in said(made) and f"in {fleet.vault}: keep a backup of it" in said(made)
    assert not any(value in made.stdout for value in found.values())

    again = fleet.make()
    assert changed(again) == {0}, again.stdout
    assert fleet.secrets() == found
    assert fleet.read().returncode == 0
    read = json.loads((fleet.path / "read.json").read_text())
    assert read["cookie"] == found["erlang_cookie"]
    assert read["passwords"].items() <= found.items()


def test_verbs_of_one_run_make_the_secrets_once(fleet: Environment) -> None:
    run = fleet.play(MAKE, MAKE, READ)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("TASK [Compare the file of secrets with the hosts") == 1


@pytest.mark.further
def test_a_new_user_s_password_is_made_and_no_other(fleet: Environment) -> None:
    fleet.make()
    before = fleet.secrets()
    extended = fleet.make(
        "-e", json.dumps({"fleet_users": [*(set(before) - {"erlang_cookie", "vault_id"}), "worker_x"]})
    )
    assert extended.returncode == 0, extended.stdout
    after = fleet.secrets()
    assert after.pop("worker_x")
    assert after == before


@pytest.mark.further
def test_passwords_that_the_site_gives_are_not_made(fleet: Environment) -> None:
    run = fleet.make("-e", json.dumps({"fleet_passwords": {"client": "of the site alone", "kit": ""}}))
    assert run.returncode == 0, run.stdout
    assert set(fleet.secrets()) == {"kit", "erlang_cookie", "vault_id"}


def test_short_passwords_of_a_site_are_refused_and_told_of_where_hosts_have_them(fleet: Environment) -> None:
    given = ("-e", json.dumps({"fleet_passwords": {"client": "hunter2", "kit": ""}}))
    run = fleet.make(*given)
    assert run.returncode != 0
    assert f"Too short (characters; at least 16) in {fleet.vault}: client (7). Nothing was changed." in said(
        run
    )
    assert not fleet.vault.exists() and "hunter2" not in run.stdout + run.stderr
    fleet.install()
    run = fleet.make(*given)
    assert run.returncode == 0, run.stdout
    assert "client (7). Replace them: rotate_passwords.yml" in said(run)


def test_a_lost_file_is_refused_until_it_is_restored_or_new_secrets_are_accepted(fleet: Environment) -> None:
    fleet.install()
    backup = fleet.path / "backup" / "vault.yml"
    backup.parent.mkdir()
    follow(fleet, "Backup")
    assert fleet.make().returncode == 0

    fleet.vault.unlink()
    lost = fleet.make()
    assert lost.returncode != 0
    assert f"{fleet.vault} is missing, but these hosts have secrets: " in said(lost)
    assert all(f"{host} has the secrets of another file" in said(lost) for host in ("w1", "w2", "c1"))
    assert f"Restore {fleet.vault} from its newest backup" in said(lost)
    assert "-e fleet_new_secrets=true" in said(lost)
    assert fleet.make("--check").returncode != 0
    assert not fleet.vault.exists()

    follow(fleet, "Restore")
    assert stat.S_IMODE(fleet.vault.stat().st_mode) == 0o600
    assert fleet.make("--check").returncode == 0
    shutil.rmtree(fleet.vault.parent)
    accepted = fleet.play(MAKE, INSTALL, options=("-e", "fleet_new_secrets=true"))
    assert accepted.returncode == 0, accepted.stdout
    assert fleet.make().returncode == 0
    assert not set(fleet.secrets().values()) & set(yaml.safe_load(backup.read_text()).values())


@pytest.mark.further
def test_one_host_of_another_environment_stops_the_run(fleet: Environment) -> None:
    fleet.install()
    before = fleet.vault.read_bytes()
    fleet.put("w2", "etc/celery-fleet/vault_id", mark("x" * 40 + "-1"))
    run = fleet.make("-e", json.dumps({"fleet_passwords": {"new": ""}}))
    assert run.returncode != 0
    assert f"{fleet.vault} does not fit these hosts: w2 has the secrets of another file. Nothing" in said(run)
    assert fleet.vault.read_bytes() == before


@pytest.mark.further
def test_a_copy_from_before_the_passwords_were_replaced_is_refused(fleet: Environment) -> None:
    fleet.install()
    old = fleet.vault.read_bytes()
    renew = {
        "hosts": "b1",
        "gather_facts": False,
        "tasks": [{"celery_fleet.kit.secrets": {"file": "{{ fleet_vault_file }}", "prepare": ["client"]}}],
    }
    assert fleet.play(renew, INSTALL).returncode == 0
    assert fleet.make().returncode == 0
    fleet.vault.write_bytes(old)
    run = fleet.make()
    assert run.returncode != 0
    assert "w1 has newer passwords" in said(run)


def test_an_installation_of_an_earlier_version_gets_its_id_without_fuss(fleet: Environment) -> None:
    fleet.make()
    made = fleet.secrets()
    kept = {name: value for name, value in made.items() if name != "vault_id"}
    fleet.vault.write_text(yaml.safe_dump(kept))
    for host in ("w1", "c1"):
        fleet.put(host, "etc/celery-fleet/secrets/client", made["client"])
    fleet.put("b1", "etc/rabbitmq/conf.d/10-celery-fleet.conf", "")
    fleet.put("b1", "var/lib/rabbitmq/.erlang.cookie", made["erlang_cookie"])
    adopted = fleet.make()
    assert adopted.returncode == 0, adopted.stdout
    assert fleet.secrets() == kept | {"vault_id": fleet.secrets()["vault_id"]}

    fleet.vault.write_text(yaml.safe_dump(kept))
    fleet.put("c1", "etc/celery-fleet/secrets/client", "another")
    refused = fleet.make()
    assert refused.returncode != 0
    assert "does not fit these hosts: c1 has another client. " in said(refused)
    assert "vault_id" not in fleet.secrets()

    fleet.vault.write_text("kit: kept\n")
    cut = fleet.make()
    assert "b1 has erlang_cookie, which the file lacks" in said(cut)
    assert fleet.vault.read_text() == "kit: kept\n"


@pytest.mark.further
def test_hosts_that_would_have_the_secrets_of_two_files_are_refused(fleet: Environment) -> None:
    other = fleet.path / "other"
    other.mkdir()
    (other / "hosts.yml").write_text(yaml.safe_dump({"workers": {"hosts": {"w3": None}}}))
    both = ("-i", str(other))
    run = fleet.make(*both)
    assert run.returncode != 0
    assert f"{other}/.secrets/vault.yml of w3" in said(run)
    assert "Give one inventory only, or set fleet_vault_file" in said(run)
    assert not fleet.vault.exists() and not (other / ".secrets").exists()
    one = fleet.make(*both, "-e", f"fleet_vault_file={fleet.vault}")
    assert one.returncode == 0, one.stdout


@pytest.mark.parametrize("content", ["", "null\n", "client: [", "client:\n"])
def test_a_broken_file_stops_readers_and_makers(fleet: Environment, content: str) -> None:
    fleet.vault.parent.mkdir()
    fleet.vault.write_text(content)
    fleet.vault.chmod(0o600)
    for run in (fleet.make(), fleet.read("--check")):
        assert run.returncode != 0
        assert str(fleet.vault) in said(run)
    assert fleet.vault.read_text() == content


@pytest.mark.further
def test_a_file_with_another_vault_password_is_refused(fleet: Environment) -> None:
    for name in ("right", "wrong"):
        (fleet.path / name).write_text(name)
    assert fleet.make("--vault-password-file", str(fleet.path / "right")).returncode == 0
    assert fleet.vault.read_bytes().startswith(b"$ANSIBLE_VAULT")
    for options, why in (
        (("--vault-password-file", str(fleet.path / "wrong")), "this vault password does not decrypt it"),
        ((), "no vault password was given"),
    ):
        run = fleet.make(*options)
        assert run.returncode != 0
        assert str(fleet.vault) in said(run) and why in said(run)
