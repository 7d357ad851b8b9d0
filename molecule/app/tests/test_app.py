"""A release on real hosts: what is in it, who may read it, and when it becomes the current one."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.findings import Findings
from fleet.host.names import user_of
from fleet.source.read import read_source
from support.leaks import leaks, shown_secrets
from support.scenario import MOLECULE, ROOT, Scenario

DEMO = ROOT / "examples" / "demo"
INDEX, WHEELHOUSE = "molecule-app-13", "molecule-app-12"
BOTH = [INDEX, WHEELHOUSE]
INSTALLED = "/opt/demo"

Hosts = Callable[[str], Any]


def deploy(
    scenario: Scenario, source: Path | dict[str, str], keep: int = 3, *options: str
) -> subprocess.CompletedProcess[str]:
    """Converge with another source, and without the clients' users of the first release."""
    given = source if isinstance(source, dict) else {"type": "directory", "path": str(source)}
    variables = {"app_source": given, "app_keep": keep, "app_client_users": []}
    return subprocess.run(
        [
            "ansible-playbook",
            f"--inventory={scenario.inventory}",
            f"--extra-vars={json.dumps(variables)}",
            *options,
            str(MOLECULE / "app" / "converge.yml"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def deployed(scenario: Scenario, source: Path, keep: int = 3) -> None:
    done = deploy(scenario, source, keep)
    assert done.returncode == 0, done.stdout + done.stderr


def current(host: Any) -> str:
    return str(host.check_output(f"basename $(readlink -f {INSTALLED}/current)"))


def releases(host: Any) -> set[str]:
    return set(host.check_output(f"ls {INSTALLED}/releases").split())


def altered(directory: Path, line: str) -> Path:
    """Copy the demo, and add a line to it."""
    source = directory / "source"
    shutil.copytree(DEMO, source, ignore=shutil.ignore_patterns("__pycache__"))
    with (source / "demo" / "app.py").open("a") as module:
        module.write(f"{line}\n")
    return source


@pytest.mark.parametrize("name", BOTH)
def test_the_release_is_complete_and_belongs_to_root(host: Hosts, name: str) -> None:
    place = f"{INSTALLED}/releases/{current(host(name))}"
    for part in (
        ".complete",
        "venv/bin/celery",
        "src/demo/app.py",
        "kit/celery_fleet/__init__.py",
        "kit/celery_fleet/worker/consumer.py",
        "requirements.lock",
    ):
        found = host(name).file(f"{place}/{part}")
        assert found.exists, part
        assert found.user == "root"
    assert host(name).check_output(f"find {place} -perm /022 -not -type l -print -quit") == ""
    assert host(name).check_output(f"readlink {INSTALLED}/current") == f"releases/{current(host(name))}"
    assert host(name).file(f"{INSTALLED}/incoming").listdir() == []


def test_both_hosts_have_the_same_release(host: Hosts) -> None:
    assert current(host(INDEX)) == current(host(WHEELHOUSE))
    assert current(host(INDEX)).startswith("demo-")


def test_one_host_had_only_the_wheelhouse(host: Hosts) -> None:
    # Here uv keeps what an index told it.
    told = f"find {INSTALLED}/environments/.cache -path '*simple*' -name 'celery*'"
    assert host(WHEELHOUSE).check_output(told) == ""
    assert host(INDEX).check_output(told) != ""
    assert host(WHEELHOUSE).file("/etc/pip.conf").contains("http://127.0.0.1:9/")
    version = f"{INSTALLED}/current/venv/bin/celery --version"
    assert host(WHEELHOUSE).check_output(version).startswith("5.7.0")


@pytest.mark.parametrize("name", BOTH)
def test_the_application_runs_as_its_user_and_knows_its_tasks(host: Hosts, name: str) -> None:
    code = (
        "from demo.app import app; app.loader.import_default_modules();"
        "print(len([name for name in app.tasks if name.startswith('demo.')]))"
    )
    command = f'runuser -u celery-fleet -- {INSTALLED}/current/venv/bin/python -c "{code}"'
    assert host(name).check_output(command) == "8"


@pytest.mark.parametrize("name", BOTH)
def test_secrets_are_read_by_those_who_need_them(host: Hosts, scenario: Scenario, name: str) -> None:
    def access(path: str) -> tuple[str, str, int]:
        found = host(name).file(path)
        return found.user, found.group, found.mode

    assert access("/etc/celery-fleet") == ("root", "celery-fleet", 0o751)
    assert access("/etc/celery-fleet/fleet.json") == ("root", "celery-fleet-client", 0o640)
    assert access("/etc/celery-fleet/worker.json") == ("root", "celery-fleet", 0o640)
    assert access("/etc/celery-fleet/secrets") == ("root", "celery-fleet", 0o751)
    expected = {f"worker_{pool}": ("celery-fleet", user_of(pool), 0o440) for pool in ("io", "general")}
    expected["client"] = ("root", "celery-fleet-client", 0o640)
    if name == INDEX:
        expected |= dict.fromkeys(("verify", "dead_letters"), ("root", "celery-fleet-operator", 0o640))
    secrets = "/etc/celery-fleet/secrets"
    assert set(host(name).file(secrets).listdir()) == expected.keys()
    for user, rights in expected.items():
        assert access(f"{secrets}/{user}") == rights
        assert host(name).file(f"{secrets}/{user}").content_string == scenario.password(user)
    user = host(name).user("celery-fleet")
    assert (user.shell, user.home) == ("/usr/sbin/nologin", "/var/lib/celery-fleet")
    pool = host(name).user(user_of("io"))
    assert (pool.shell, pool.home) == ("/usr/sbin/nologin", f"/var/lib/{pool.name}")
    # Not of the clients, whose password it could read then.
    assert set(pool.groups) == {"celery-fleet", pool.name}


def reads(host: Any, path: str, user: str = "www-data") -> bool:
    return bool(host.run(f"runuser -u {user} -- cat {path}").rc == 0)


def publisher(host: Any) -> Any:
    """Import the application as a web process does, up to its first connection."""
    code = "from demo.app import app; print(app.connection_for_write().as_uri())"
    return host.run(f'runuser -u www-data -- {INSTALLED}/current/venv/bin/python -c "{code}"')


@pytest.mark.parametrize("name", BOTH)
def test_a_client_s_user_reads_what_it_publishes_with_and_nothing_else(host: Hosts, name: str) -> None:
    assert publisher(host(name)).stdout.startswith("fleet://client:**@192.0.2.1")
    assert reads(host(name), "/etc/celery-fleet/secrets/client")
    assert not reads(host(name), "/etc/celery-fleet/secrets/worker_io")
    assert not reads(host(name), "/etc/celery-fleet/secrets/client", "nobody")
    for directory in ("/etc/celery-fleet", "/etc/celery-fleet/secrets", "/var/lib/celery-fleet"):
        assert host(name).run(f"runuser -u www-data -- ls {directory}").rc != 0


def environments(host: Any) -> set[str]:
    return set(host.check_output(f"ls {INSTALLED}/environments").split())


def test_an_application_that_cannot_be_imported_never_becomes_current(
    host: Hosts, scenario: Scenario, tmp_path: Path
) -> None:
    before = current(host(INDEX))
    installed = environments(host(INDEX))
    done = deploy(scenario, altered(tmp_path, "raise RuntimeError('this release is broken')"))
    assert done.returncode != 0
    assert "RuntimeError: this release is broken" in done.stdout + done.stderr
    assert scenario.password("worker_io") not in done.stdout + done.stderr
    for name in BOTH:
        assert current(host(name)) == before
        (broken,) = [
            release
            for release in releases(host(name))
            if not host(name).file(f"{INSTALLED}/releases/{release}/.complete").exists
        ]
        assert broken.startswith("demo-")
    assert environments(host(INDEX)) == installed, "nothing was installed again"


def test_releases_are_kept_rebuilt_and_pruned(host: Hosts, scenario: Scenario, tmp_path: Path) -> None:
    first = current(host(INDEX))
    second_source, third_source = altered(tmp_path / "2", "# second"), altered(tmp_path / "3", "# third")
    deployed(scenario, second_source, keep=2)
    refused = publisher(host(INDEX))
    assert refused.rc == 1, "a user that the list no longer names loses the right"
    assert "permission denied for user www-data" in refused.stderr
    second = current(host(INDEX))
    assert second != first
    # What never was complete is gone, the release before is kept.
    assert [releases(host(name)) for name in BOTH] == [{first, second}] * 2

    # A release that was interrupted is built anew.
    place = f"{INSTALLED}/releases/{second}"
    host(INDEX).check_output(f"rm {place}/.complete {place}/venv/bin/celery && touch {place}/src/left-over")
    deployed(scenario, second_source, keep=2)
    assert host(INDEX).file(f"{place}/.complete").exists
    assert host(INDEX).file(f"{place}/venv/bin/celery").exists
    assert not host(INDEX).file(f"{place}/src/left-over").exists

    # A release that a worker still runs is kept beyond the number.
    unit = f"celery-fleet-probe@{first}.service"
    host(INDEX).check_output(f"systemd-run --unit={unit} sleep infinity")
    try:
        deployed(scenario, third_source, keep=2)
        third = current(host(INDEX))
        assert releases(host(INDEX)) == {first, second, third}
        assert releases(host(WHEELHOUSE)) == {second, third}
    finally:
        host(INDEX).check_output(f"systemctl stop {unit}")


PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "demo-project"
version = "1.4"
requires-python = ">=3.11"
[project.scripts]
demo-tasks = "demo.outside_of_tasks:main"
"""
PORT = 2222


@pytest.fixture
def repository(host: Hosts, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A private repository behind a real SSH server, with an installed src/ project in a subdirectory."""
    git, server = host(INDEX), "/srv/git"
    work = tmp_path / "work"
    backend = work / "backend"
    shutil.copytree(DEMO / "demo", backend / "src" / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    (backend / "src" / "demo" / "outside_of_tasks.py").write_text("def main():\n    print('entered')\n")
    shutil.copy(DEMO / "requirements.lock", backend)
    (backend / "pyproject.toml").write_text(PROJECT)
    (work / "README.md").write_text("not of the application\n")
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "add", "--all"],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=first"],
        ["git", "tag", "v1.4"],
        ["git", "bundle", "create", "--quiet", str(tmp_path / "bundle"), "--all"],
    ):
        subprocess.run(command, cwd=work, check=True)
    key = _new_key(tmp_path)
    public = (tmp_path / "new.pub").read_text().strip()
    bundle = base64.b64encode((tmp_path / "bundle").read_bytes()).decode()
    git.check_output(
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends git >/dev/null && "
        f"rm -rf {server} && useradd --system --shell /bin/sh --home-dir {server} git; mkdir -p {server} && "
        f"echo {bundle} | base64 -d >{server}/bundle && "
        f"git clone -q --bare {server}/bundle {server}/shop.git && "
        f"echo '{public}' >{server}/keys && chown -R git: {server} && "
        f"systemd-run -q --unit=test-git-sshd /usr/sbin/sshd -D -p {PORT} -o AuthorizedKeysFile={server}/keys"
    )
    address = git.check_output("hostname -I").split()[0]
    host_key = git.check_output("ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key")
    try:
        yield {
            "type": "git",
            "url": f"ssh://git@{address}:{PORT}{server}/shop.git",
            "version": "v1.4",
            "subdirectory": "backend",
            "key": key,
            "known_hosts": f"[{address}]:{PORT} {host_key}",
        }
    finally:
        git.check_output("systemctl stop test-git-sshd")


def _new_key(directory: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "new")], check=True)
    return (directory / "new").read_text()


def test_an_installed_project_of_a_private_repository(
    host: Hosts, scenario: Scenario, repository: dict[str, str], tmp_path: Path
) -> None:
    installed = environments(host(INDEX))
    secret = {"deploy key": repository["key"]}
    place, unknown = repository["known_hosts"].split()[0], tmp_path / "other"
    unknown.mkdir()
    _new_key(unknown)
    for wrong, said in (
        ({"known_hosts": f"{place} {(unknown / 'new.pub').read_text()}"}, "Host key verification failed"),
        ({"key": (unknown / "new").read_text()}, "Permission denied (publickey)"),
    ):
        findings = Findings()
        assert read_source(repository | wrong, "demo", tmp_path, findings) is None
        assert [said in finding.reason for finding in findings] == [True]
    done = deploy(scenario, repository, 3, "-vvv")
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert shown_secrets(shown, secret) == []
    for name in BOTH:
        place = f"{INSTALLED}/releases/{current(host(name))}"
        assert current(host(name)).startswith("v1.4-")
        assert host(name).check_output(f"runuser -u celery-fleet -- {place}/venv/bin/demo-tasks") == "entered"
        code = "import demo, importlib.metadata as m; print(demo.__file__, m.version('demo-project'))"
        found = host(name).check_output(f'{place}/venv/bin/python -c "{code}"').split()
        assert found[0].startswith(f"{place}/venv/lib/")
        assert found[1] == "1.4"
        assert not host(name).file(f"{place}/src/README.md").exists
        assert leaks(name, secret) == ""
    assert environments(host(INDEX)) == installed, "the environment of the same lock is used again"
