"""Where hooks of a release would run, and when they would not, with real Ansible in check mode."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from fleet.files.hooks import release_hooks
from fleet.host.names import installation
from support.ansible_runs import ansible

SETTINGS = {
    "prepare": [{"name": "Collect", "command": "manage collectstatic"}],
    "before_release": [{"name": "Migrate", "command": "manage migrate"}],
    "after_release": [{"name": "Announce", "command": "manage announce"}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The application's directory, which the two hosts share, as both are this machine."""
    (tmp_path / "opt/releases/r1").mkdir(parents=True)
    return tmp_path / "opt"


def run(root: Path, *options: str, restricted: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the hooks of a deploy, in check mode."""
    steps = [
        {"ansible.builtin.include_role": {"name": "app", "tasks_from": name}}
        for name in ("before_release", "after_release")
    ]
    play = {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "vars": {
            "app_installation": installation("shop") | {"root": str(root)},
            "app_settings": SETTINGS,
            "app_release_host": "one",
            "app_restricted": restricted,
        },
        "tasks": [{"ansible.builtin.set_fact": {"__app_bundle": {"release": "r1"}}}, *steps],
    }
    playbook = root / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    return ansible("ansible-playbook", "-i", "one,two", "-c", "local", "--check", *options, str(playbook))


def test_one_host_runs_what_the_fleet_has_once(root: Path) -> None:
    done = run(root)
    assert done.returncode == 0, done.stdout
    ran = [
        line.split() for line in done.stdout.splitlines() if line.startswith("changed: ") and "(item=" in line
    ]
    hosts = {
        name: [words[1] for words in ran if f"(item={name})" in words] for name in ("Collect", "Migrate")
    }
    assert {name: sorted(found) for name, found in hosts.items()} == {
        "Collect": ["[one]", "[two]"],
        "Migrate": ["[one]"],
    }
    assert "changed: [one] => (item=Announce)" in done.stdout
    assert "changed: [two] => (item=Announce)" not in done.stdout


def test_a_limit_that_leaves_out_the_host_is_refused_until_the_release_has_had_its_hooks(root: Path) -> None:
    done = run(root, "--limit", "two", restricted=True)
    assert done.returncode != 0
    assert "has not had Migrate (before_release), which one runs for the whole fleet" in " ".join(
        done.stdout.split()
    )
    (hook,) = release_hooks(SETTINGS, str(root / "releases/r1"))["before_release"]
    Path(hook["mark"]).touch()
    done = run(root, "--limit", "two", restricted=True)
    assert done.returncode == 0, done.stdout
    assert "item=Migrate" not in done.stdout
    assert "after_release was not run (Announce)" in done.stdout
    # Another command is another hook.
    changed = release_hooks({"before_release": [{"name": "Migrate", "command": "manage migrate shop"}]}, "r")
    assert Path(changed["before_release"][0]["mark"]).name != Path(hook["mark"]).name
