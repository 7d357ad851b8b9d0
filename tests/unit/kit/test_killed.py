"""Killed at any of its changes, or without power, and run again, it ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleet.files.secret_file import ID, SecretFile, exchange, finish, make, prepare
from fleet.host import disk
from fleet.host.command import Command, Job, hook_unit
from fleet.host.environment import Environments, uv_in
from fleet.host.machine import Machine
from fleet.host.names import COMMAND, COMMAND_LOCK, NUMBER, ROOT_MARK, below
from fleet.host.probation import Probation
from fleet.host.prune import prune, retire
from fleet.host.pythons import Interpreter, unpacked
from fleet.host.records import Worker, keep
from fleet.host.serve import serve
from fleet.host.state import HostState
from fleet.lock import fetch
from fleet.release import Entry, archive
from support.fake_systemd import LastingSystemd
from support.kills import kills, repeated, step, tree, unseen

LEAST = 3
PROBATION = Probation(start=90, seconds=0.1, tasks=20, failures=3)


class Plain:
    """No vault."""

    def encrypt(self, plain: bytes) -> bytes:
        return plain

    def decrypt(self, content: bytes) -> bytes:
        return content


def test_the_state_of_a_host(tmp_path: Path) -> None:
    root = tmp_path / "root"
    items: list[dict[str, Any]] = [
        {"directory": "/etc/celery-fleet", "mode": "0751"},
        {"file": "/etc/celery-fleet/fleet.json", "content": "new\n", "mode": "0640"},
        {"file": "/etc/celery-fleet/more", "content": "more\n", "mode": "0644"},
        {"record": "/etc/celery-fleet/files.json", "paths": ["/etc/own"]},
        {"file": "/etc/own", "content": "own\n", "mode": "0644"},
        {"link": "/opt/demo/current", "to": "releases/r2"},
        {"absent": "/etc/celery-fleet/old"},
    ]

    def begin() -> None:
        (root / "etc/celery-fleet/old").mkdir(parents=True)
        (root / "etc/celery-fleet/old/file").write_text("old")
        (root / "etc/celery-fleet/fleet.json").write_text("old\n")
        (root / "opt/demo").mkdir(parents=True)
        (root / "opt/demo/current").symlink_to("releases/r1")

    def check(_: bool) -> None:
        assert (root / "etc/celery-fleet/fleet.json").read_text() in ("old\n", "new\n")
        assert (root / "opt/demo/current").is_symlink()

    repeated(root, lambda: HostState(False, {}, root).apply(items), begin, check)


def test_secrets_that_are_made_and_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "vault.yml"
    names = ["client", "kit"]
    first = {"client": "a" * 40}

    def begin() -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(mode=0o700)
        with SecretFile(path, Plain()).edit() as content:
            content.update(first)

    def work() -> None:
        file = SecretFile(path, Plain())
        for change in (lambda old: make(old, names), lambda old: prepare(old, names), exchange, finish):
            with file.edit() as content:
                after = change(content)
                content.clear()
                content.update(after)

    count = 0
    for _ in kills(work, begin, path.parent):
        count += 1
        # Whatever a host may have been given is there, or still the one before it.
        left = yaml.safe_load(path.read_text())
        in_force, upcoming = left["client"], left.get("next", {}).get("client")
        assert len(in_force) == 40
        with SecretFile(path, Plain()).edit() as content:
            after = finish(exchange(prepare(make(content, names), names)))
            content.clear()
            content.update(after)
        ended = yaml.safe_load(path.read_text())
        assert upcoming is None or ended["client"] == upcoming
        assert sorted(ended) == sorted([*names, ID])
        assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert count >= LEAST


def worker(release: str, digest: str, rollover: str) -> Worker:
    unit = (
        f"[Service]\nEnvironment=CELERY_FLEET_POOL=cpu\n"
        f"Environment=CELERY_FLEET_INSTANCE={release}_{digest}_{NUMBER}\n"
    )
    return Worker(release, digest, rollover, unit, {"concurrency": 4})


@pytest.mark.parametrize("rollover", ["overlap", pytest.param("wait", marks=pytest.mark.further)])
def test_a_rollover(tmp_path: Path, rollover: str) -> None:
    root = tmp_path / "root"
    old, new = worker("demo-1", "00000000", rollover), worker("demo-2", "11111111", rollover)
    fakes: list[LastingSystemd] = []

    def begin() -> None:
        fakes[:] = [fake] = [LastingSystemd(root, tmp_path / "systemd.json")]
        fake.serves("cpu", "demo-1")
        keep(fake.host, "cpu", old)
        fake.host.serve({"cpu": {"release": "demo-1", "previous": ""}})
        fake.keep()

    def work() -> None:
        serve(fakes[0].host, {"cpu": new}, {"cpu": "[Slice]\nMemoryMax=1M\n"}, PROBATION)

    def check(lost: bool) -> None:
        (fake,) = fakes
        fake.recall()
        if lost:
            fake.boot()
        assert "active" in fake.states.values(), "no instance runs"
        assert fake.enabled(), "nothing would run after a boot"

    def read() -> object:
        (fake,) = fakes
        fake.recall()
        units = {path.name: path.read_text() for path in fake.host.units.iterdir() if path.is_file()}
        paused = [
            unit
            for unit in fake.states
            if (fake.host.orders(unit) or root) / "paused" in root.rglob("paused")
        ]
        return fake.states, fake.enabled(), units, tree(fake.host.config), paused

    def numberless() -> str:
        # The instance may have another number than in a run that was not interrupted.
        text = json.dumps(read(), default=sorted, sort_keys=True)
        return text.replace("11111111_1", "11111111_2")

    repeated(root, work, begin, check, numberless)


def releases(root: Path, *names: str) -> None:
    for name in names:
        (root / "releases" / name / "venv").mkdir(parents=True)
        (root / "releases" / name / "venv" / "file").write_text(name)
        (root / "releases" / name / ".complete").touch()


def test_releases_that_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    app, fakes = root / "opt/demo", list[LastingSystemd]()

    def begin() -> None:
        fakes[:] = [LastingSystemd(root, tmp_path / "systemd.json")]
        releases(app, "r1", "r2", "r3")
        (app / "releases/r3/environment").write_text("e3")
        for kept in ("environments/e1", "environments/e3", "python/p1"):
            (app / kept / "lib").mkdir(parents=True)
            (app / kept / "lib/file").write_text(kept)
            (app / kept / ".complete").touch()
        (fakes[0].host.config / "units/r1").mkdir(parents=True)
        (fakes[0].host.config / "units/r1/cpu.service").write_text("text")

    def check(_: bool) -> None:
        # What counts as complete is whole, since a rollback would take it.
        for mark in app.glob("releases/*/.complete"):
            assert (mark.parent / "venv/file").exists(), f"{mark.parent.name} is only in part there"
        for place in app.glob("environments/[!.]*/.complete"):
            assert (place.parent / "lib/file").exists()
        for place in app.glob("python/[!.]*"):
            assert (place / "lib/file").exists()
        assert (app / "releases/r3/venv/file").exists()

    repeated(root, lambda: prune(fakes[0].host, app, "r3", 1), begin, check)


def test_a_host_that_is_retired(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fakes = list[LastingSystemd]()

    def begin() -> None:
        fakes[:] = [fake] = [LastingSystemd(root, tmp_path / "systemd.json")]
        fake.serves("cpu", "r1")
        fake.states.clear()
        fake.keep()
        releases(root / "opt/demo", "r1")
        (root / "opt/demo" / ROOT_MARK).touch()
        for path, text in {
            "etc/celery-fleet/files.json": '["/srv/own"]',
            "srv/own": "own",
            "etc/systemd/system/celery-fleet-cpu.slice": "[Slice]",
            "etc/systemd/system/reboot.target.d/celery-fleet.conf": "[Unit]",
            "usr/local/bin/celery-fleet": "#!/bin/sh",
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

    def check(_: bool) -> None:
        for mark in root.glob("opt/demo/releases/*/.complete"):
            assert (mark.parent / "venv/file").exists(), f"{mark.parent.name} is only in part there"

    def read() -> object:
        # An empty directory may be anybody's: it stays if the run ends between its mark and itself.
        own = ("run/", "wants/", "opt/demo")
        assert not (root / "opt/demo").exists() or not list((root / "opt/demo").iterdir())
        return [path for path in tree(root) if not any(place in path for place in own)]

    repeated(root, lambda: retire(fakes[0].host, root / "opt/demo"), begin, check, read)


def test_what_is_marked_as_complete(tmp_path: Path) -> None:
    place = tmp_path / "release"

    def work() -> None:
        (place / "file").write_text("whole")
        disk.mark(place / ".complete", "report")

    def check(_: bool) -> None:
        if (place / ".complete").exists():
            assert tree(place)["file"][1] == "whole"

    repeated(place, work, lambda: None, check)


def test_an_environment_of_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "opt"
    python = Interpreter("/usr/bin/python3", "3.13.5", "x86_64", "2.41", "cpython")
    packages = root / "environments/e1/lib/python3/site-packages"
    monkeypatch.setattr(Environments, "_run", lambda *_: packages.mkdir(parents=True))
    monkeypatch.setattr("fleet.host.environment.compiled", lambda *_: None)

    def install(_: Path) -> None:
        (packages / "shop.py").write_text("x = 1\n")

    def work() -> None:
        Environments(root, Path("uv")).make("e1", python, install)

    def check(_: bool) -> None:
        if (root / "environments/e1/.complete").exists():
            assert (packages / "shop.py").read_text() == "x = 1\n"

    repeated(root, work, lambda: None, check)


def packed(path: Path, name: str, content: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def test_a_python_that_the_controller_brings(tmp_path: Path) -> None:
    root = tmp_path / "root"
    archive, place = root / "incoming/python.tar", root / "python/p1"

    def begin() -> None:
        archive.parent.mkdir()
        packed(archive, "bin/python3.13", b"#!/bin/sh\n")

    def work() -> None:
        if not place.is_dir():
            begin_again()
            unpacked(archive, hashlib.sha256(archive.read_bytes()).hexdigest(), place)

    def begin_again() -> None:
        # As the role does it, which copies the archive whenever the Python is not there.
        with unseen():
            packed(archive, "bin/python3.13", b"#!/bin/sh\n")

    def check(_: bool) -> None:
        if place.is_dir():
            assert (place / "bin/python3.13").read_text() == "#!/bin/sh\n"

    repeated(root, work, begin, check)


def test_the_program_that_installs(tmp_path: Path) -> None:
    root = tmp_path / "root"
    wheels = root / "tools/0123.tar"

    def begin() -> None:
        (root / "tools/old").mkdir(parents=True)
        (root / "tools/old/uv").write_text("old")
        with zipfile.ZipFile(tmp_path / "uv.whl", "w") as wheel:
            wheel.writestr("uv-1.data/scripts/uv", "the program")
        packed(wheels, "uv.whl", (tmp_path / "uv.whl").read_bytes())

    def check(_: bool) -> None:
        program = root / "tools/0123/uv"
        assert not program.exists() or program.read_text() == "the program"

    def read() -> object:
        return sorted(tree(root)), (root / "tools/0123/uv").read_text()

    repeated(root, lambda: uv_in(wheels, root), begin, check, read)


def whole(target: Path) -> list[str]:
    with tarfile.open(target) as tar:
        return tar.getnames()


def test_an_archive_on_the_controller(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "demo.tar.gz"

    def check(_: bool) -> None:
        assert not target.exists() or whole(target) == ["src/a.py"]

    repeated(
        target.parent,
        lambda: archive([Entry("src/a.py", b"x = 1\n")], target),
        lambda: None,
        check,
        lambda: whole(target),
    )


def test_a_source_that_the_controller_keeps(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    index = fetch._Index(None, None, cache)

    def check(_: bool) -> None:
        for kept in cache.glob("*/*.tar.gz"):
            assert kept.read_text() == "whole"

    def kept() -> str:
        return (cache / "0123/docopt.tar.gz").read_text()

    repeated(cache, lambda: index._keep("0123", "docopt.tar.gz", b"whole"), lambda: None, check, kept)


class Hooks:
    """A systemd whose commands end well at once, and outlive the process that asks for them."""

    def __init__(self, root: Path, ran: Path) -> None:
        self.host, self._ran = Machine(root, self), ran

    def __call__(self, *command: str) -> str:
        if command[0] == "systemd-run":
            step()
            with unseen():
                self._ran.write_text(f"{self._ran.read_text()}ran\n")
                (mark,) = (word.rpartition(" ")[2] for word in command if "/usr/bin/install" in word)
                Path(mark).touch()
        return "ActiveState=inactive\nSubState=dead\nResult=success\nExecMainCode=0\nExecMainStatus=0\n"


def test_a_hook_runs_once(tmp_path: Path) -> None:
    root, ran = tmp_path / "root", tmp_path / "ran"
    place = root / "opt/demo/releases/r1"
    mark = place / ".before_release-0123"

    def begin() -> None:
        ran.write_text("")
        releases(root / "opt/demo", "r1")
        (place / "venv/bin").mkdir()
        (place / "venv/bin/manage").write_text("#!/bin/sh\n")
        (place / "venv/bin/manage").chmod(0o755)
        for path in (COMMAND, COMMAND_LOCK):
            below(root, path).parent.mkdir(parents=True, exist_ok=True)
        below(root, COMMAND).write_text("User=celery-fleet\n")

    def work() -> None:
        job = Job(Hooks(root, ran).host, hook_unit("before_release"), mark)
        job.start(Command(["manage"], root / "opt/demo", "r1"), "Migrate", 60)

    def read() -> object:
        assert ran.read_text() == "ran\n"
        return mark.exists()

    repeated(root, work, begin, read=read)
