"""The kit as a collection: built, installed, and run from a site of its own, in another directory."""

import os
import subprocess
import tarfile
from pathlib import PurePosixPath

import pytest
import yaml
from fleet.kit import version
from support.ansible_runs import tool
from support.fleet_model import ROOT

# One process builds and installs it, and once is enough.
pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.further]

DEMO = {
    "fleet_app": {
        "name": "demo",
        "celery_app": "demo.app:app",
        "source": {"type": "directory", "path": str(ROOT / "examples/demo")},
        "requirements": "requirements.lock",
    },
    "fleet_hardware": {"cores": 16, "memory_gib": 128},
}


class Site:
    """A site beside which a build of this kit is installed."""

    def __init__(self, path):
        self.path, self.elsewhere = path / "fleet", path / "elsewhere"
        self.elsewhere.mkdir()
        self.run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(path))
        (self.archive,) = path.glob("celery_fleet-kit-*.tar.gz")
        arguments = ("--offline", str(self.archive), "-p", str(self.path / "collections"))
        self.run("ansible-galaxy", "collection", "install", *arguments)

    def run(self, *command, configured=False, fails=False):
        """Run one of Ansible's programs in another directory, with the site's settings or with none."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        own |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"}
        own |= (
            {"ANSIBLE_CONFIG": str(self.path / "ansible.cfg")}
            if configured
            else {"ANSIBLE_COLLECTIONS_PATH": str(self.path / "collections")}
        )
        run = subprocess.run(
            [tool(command[0]), *command[1:]],
            cwd=self.elsewhere,
            env=own,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode != 0) == fails, run.stdout + run.stderr
        return " ".join((run.stdout + run.stderr).split())

    def verb(self, name, *options, **more):
        """Run a verb of the collection on the site's inventory."""
        playbook = f"celery_fleet.kit.{name}"
        return self.run("ansible-playbook", playbook, "-i", str(self.path / "prod"), *options, **more)

    def new(self, *options):
        """Write the site, or what it does not have."""
        return self.run("ansible-playbook", "celery_fleet.kit.new_site", "-e", f"site={self.path}", *options)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    site.new()
    return site


LINTERS = (
    ("ansible-lint", "--offline", "--nocolor", "--profile", "production", "--exclude", "collections"),
    ("yamllint", "--strict", "--config-file", str(ROOT / ".yamllint"), "prod", "requirements.yml"),
)


@pytest.fixture(scope="module")
def complaints(site):
    """What linters say of a site as it is written, by their names."""
    runs = {
        name: subprocess.run(
            [tool(name), *options], cwd=site.path, capture_output=True, text=True, check=False
        )
        for name, *options in LINTERS
    }
    return {name: run.stdout + run.stderr for name, run in runs.items() if run.returncode}


# What a site has a use for; a clone's secrets and inventories are not among it.
SHIPPED = {
    *("CHANGELOG.md", "FILES.json", "MANIFEST.json", "README.md", "ansible.cfg"),
    *("celery_fleet", "celery_fleet_autoconfigure", "docs", "group_vars", "meta", "playbooks", "plugins"),
    *("requirements", "roles"),
}


def test_the_archive_has_nothing_of_a_clone_s_own(site):
    with tarfile.open(site.archive) as archive:
        paths = [PurePosixPath(name).parts for name in archive.getnames()]
    assert {path[0] for path in paths} == SHIPPED
    assert [path for path in paths if any(part.startswith((".", "__pycache__")) for part in path)] == []


def test_a_site_is_clean_by_the_strictest_rules(complaints):
    assert complaints == {}


def test_a_site_pins_the_kit(site):
    (pinned,) = yaml.safe_load((site.path / "requirements.yml").read_text())["collections"]
    assert pinned == {"name": "celery_fleet.kit", "version": version(ROOT)}


# The linters have seen what it was.
@pytest.mark.usefixtures("complaints")
def test_a_site_plans_its_fleet_from_another_directory(site):
    own = site.path / "prod/group_vars/all/fleet.yml"
    own.write_text(yaml.safe_dump(yaml.safe_load(own.read_text()) | DEMO))
    plan = site.verb("plan", configured=True)
    assert "5 host(s), 5 planned" in plan
    assert "No finding." in plan


def test_what_a_site_has_is_kept(site):
    (site.path / "README.md").write_text("ours")
    (site.path / "requirements.yml").unlink()
    assert "changed=1" in site.new("-e", "site_kit=https://git.example.com/kit.git")
    assert (site.path / "README.md").read_text() == "ours"
    assert "type: git" in (site.path / "requirements.yml").read_text()


def test_without_its_settings_a_site_is_refused_in_one_sentence(site):
    refused = site.verb("preflight", fails=True)
    assert "controller/precedence" in refused
    assert "Ansible has found no ansible.cfg" in refused
    assert "1 error: refused." in refused
