"""Killed at any of its changes and run again, it ends as if nobody had killed it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import yaml
from fleet.files.secret_file import ID, SecretFile, exchange, finish, make, prepare
from fleet.host import disk
from fleet.host.prune import prune
from fleet.host.state import HostState
from fleet.release import Entry, archive
from support.fake_systemd import FakeSystemd
from support.kills import kills, tree

LEAST = 3


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
        {"link": "/opt/demo/current", "to": "releases/r2"},
        {"absent": "/etc/celery-fleet/old"},
    ]

    def begin() -> None:
        shutil.rmtree(root, ignore_errors=True)
        (root / "etc/celery-fleet/old").mkdir(parents=True)
        (root / "etc/celery-fleet/old/file").write_text("old")
        (root / "etc/celery-fleet/fleet.json").write_text("old\n")
        (root / "opt/demo").mkdir(parents=True)
        (root / "opt/demo/current").symlink_to("releases/r1")

    def work() -> None:
        HostState(False, {}, root).apply(items)

    begin()
    work()
    wanted = tree(root)
    count = 0
    for _ in kills(work, begin):
        count += 1
        assert (root / "etc/celery-fleet/fleet.json").read_text() in ("old\n", "new\n")
        assert (root / "opt/demo/current").is_symlink()
        work()
        assert tree(root) == wanted
    assert count >= LEAST


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
        for step in (lambda old: make(old, names), lambda old: prepare(old, names), exchange, finish):
            with file.edit() as content:
                after = step(content)
                content.clear()
                content.update(after)

    count = 0
    for _ in kills(work, begin):
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


def test_releases_that_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "opt"
    fake = FakeSystemd(tmp_path)

    def begin() -> None:
        shutil.rmtree(root, ignore_errors=True)
        for name in ("r1", "r2", "r3"):
            (root / "releases" / name / "venv").mkdir(parents=True)
            (root / "releases" / name / "venv" / "file").write_text(name)
            (root / "releases" / name / ".complete").touch()

    def work() -> None:
        prune(fake.host, root, "r3", 1)

    count = 0
    for _ in kills(work, begin):
        count += 1
        assert (root / "releases/r3/venv/file").exists()
        work()
        assert sorted(path.name for path in (root / "releases").iterdir()) == ["r3"]
    assert count >= LEAST


def test_what_is_marked_as_complete(tmp_path: Path) -> None:
    place = tmp_path / "release"

    def begin() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()

    def work() -> None:
        (place / "file").write_text("whole")
        disk.mark(place / ".complete", "report")

    count = 0
    for _ in kills(work, begin):
        count += 1
        marked = place / ".complete"
        assert not marked.exists() or (marked.read_text(), (place / "file").read_text()) == (
            "report",
            "whole",
        )
        work()
        assert {path.name: path.read_text() for path in place.iterdir()} == {
            "file": "whole",
            ".complete": "report",
        }
    assert count >= LEAST


def test_an_archive_on_the_controller(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "demo.tar.gz"

    def work() -> None:
        archive([Entry("src/a.py", b"x = 1\n")], target)

    def whole() -> list[str]:
        with tarfile.open(target) as tar:
            return tar.getnames()

    count = 0
    for _ in kills(work, lambda: shutil.rmtree(target.parent, ignore_errors=True)):
        count += 1
        assert not target.exists() or whole() == ["src/a.py"]
        work()
        assert whole() == ["src/a.py"]
    assert count >= LEAST
