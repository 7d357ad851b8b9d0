"""A module that is killed at any of its changes, or without power, ends as ever when it is run again."""

from __future__ import annotations

import importlib
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.celery_fleet.kit.plugins.modules import app_release, app_wheelhouse, rabbitmq_cluster
from support.fake_systemd import LastingSystemd
from support.kills import repeated, step, tree, unseen

MODULES = "ansible_collections.celery_fleet.kit.plugins.modules"
UNIT = "celery-fleet-cpu@demo-1_00000000_1.service"


class Host:
    """A host with one worker, as a test begins with it.

    Attributes:
        fake: Its systemd, made anew each time.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._memory, self._monkeypatch = place / "root", place / "systemd.json", monkeypatch
        self.fake: LastingSystemd

    def begin(self) -> None:
        self.fake = LastingSystemd(self.root, self._memory)
        self.fake.serves("cpu", "demo-1")
        self.fake.host.serve({"cpu": {"release": "demo-1", "previous": ""}})
        self.fake.keep()

    def work(self, name: str, **arguments: Any) -> Callable[[], None]:
        """Return what runs a module on it."""
        module = importlib.import_module(f"{MODULES}.{name}")
        self._monkeypatch.setattr(module, "Machine", lambda: self.fake.host)

        def work() -> None:
            with patch_module_args(arguments):
                module.main()

        return work

    def left(self) -> object:
        """Return its files and what runs on it; orders lie in directories that are called as numbers."""
        self.fake.recall()
        return self.fake.states, [
            (*("*" if part.isdecimal() else part for part in Path(path).parts), about)
            for path, about in tree(self.root).items()
        ]

    def check(self, lost: bool) -> None:
        """Boot if the power was lost."""
        self.fake.recall()
        if lost:
            self.fake.boot()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_drain(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    work = host.work("worker_drain", state="drained", reason="memory is replaced")
    monkeypatch.setattr(f"{MODULES}.worker_drain.time.strftime", lambda _: "now")
    repeated(host.root, work, host.begin, host.check, host.left)


def test_undrain(host: Host) -> None:
    def begin() -> None:
        host.begin()
        for pool in ("cpu", "io"):
            host.fake.serves(pool, "demo-1")
            host.fake.host.write(host.fake.host.marks / pool, "now reason\n")
        host.fake.keep()

    repeated(host.root, host.work("worker_drain", state="undrained"), begin, host.check, host.left, least=2)


def test_scale(host: Host) -> None:
    work = host.work("worker_scale", only=["cpu"], concurrency=4)
    # An order ends with the unit, and so with the power.
    repeated(host.root, work, host.begin, lambda _: None, host.left)


def test_revoke(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULES}.worker_revoke.time.time", lambda: 1e9)
    work = host.work("worker_revoke", ids=["0b1c6f5e"], tasks=["shop.*"])
    repeated(host.root, work, host.begin, host.check, host.left)


def test_the_current_release(host: Host) -> None:
    app = host.root / "opt/demo"

    def begin() -> None:
        host.begin()
        for name in ("demo-0", "demo-1", "demo-2"):
            (app / "releases" / name / "src").mkdir(parents=True)
            (app / "releases" / name / "src/file").write_text(name)
            (app / "releases" / name / ".complete").touch()
        (app / "current").symlink_to("releases/demo-1")

    def check(lost: bool) -> None:
        host.check(lost)
        assert (app / "current/src/file").exists()

    def left() -> object:
        return host.left(), (app / "current").readlink()

    work = host.work("app_current", root=str(app), release="demo-2", keep=1)
    repeated(host.root, work, begin, check, left)


def test_a_release_that_is_built(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    app, incoming = host.root / "opt/demo", host.root / "incoming"
    place = app / "releases/demo-2"

    def begin() -> None:
        host.begin()
        arrive()

    def arrive() -> None:
        # The role copies the archive whenever the release is not complete.
        incoming.mkdir(exist_ok=True)
        (incoming / "demo-2.tar.gz").write_bytes(b"archive")

    def build(place: Path, *_: object) -> tuple[bool, str]:
        step()
        (place / "src").mkdir()
        (place / "src/app.py").write_text("whole")
        return False, ""

    monkeypatch.setattr(app_release, "find", lambda _: None)
    monkeypatch.setattr(app_release, "lock_of", lambda _: b"")
    monkeypatch.setattr(app_release, "key_of", lambda *_: "e1")
    monkeypatch.setattr(app_release, "uv_in", lambda *_: Path("uv"))
    monkeypatch.setattr(app_release, "build", build)
    monkeypatch.setattr(app_release, "import_app", lambda *_: "{}")
    run = host.work(
        "app_release",
        root=str(app),
        release="demo-2",
        archive=str(incoming / "demo-2.tar.gz"),
        uv="uv",
        celery_app="demo.app",
        user="root",
    )

    def work() -> None:
        if not (place / ".complete").exists():
            with unseen():
                arrive()
        run()

    def check(lost: bool) -> None:
        host.check(lost)
        if (place / ".complete").exists():
            assert [(place / name).read_text() for name in ("src/app.py", "environment")] == ["whole", "e1"]

    repeated(host.root, work, begin, check, host.left)


@pytest.mark.further
def test_wheels_for_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    lock = tmp_path / "0123.lock"
    lock.write_text("shop==1.0\n")
    # Not in each of the processes that are killed.
    assert app_wheelhouse.read_requirements(lock, lock.parent).requirements

    def pip(command: list[str], **named: Any) -> Any:
        (place,) = (Path(part.removeprefix("--dest=")) for part in command if part.startswith("--dest="))
        place.mkdir()
        (place / "shop-1.0-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(app_wheelhouse, "pip", lambda _: ["pip"])
    monkeypatch.setattr(app_wheelhouse.subprocess, "run", pip)

    def work() -> None:
        with patch_module_args({"lock": str(lock), "targets": ["3.13 x86_64 2.41"], "cache": str(cache)}):
            app_wheelhouse.main()

    def names() -> list[str]:
        (wheels,) = (cache / "wheels").glob("*.tar")
        with tarfile.open(wheels) as tar:
            return tar.getnames()

    def check(_: bool) -> None:
        if list((cache / "wheels").glob("*.tar")):
            assert names() == ["shop-1.0-py3-none-any.whl"]

    repeated(cache, work, lambda: None, check, names)


class Nodes:
    """Broker nodes that obey as RabbitMQ's do; who commands them is killed before one of the commands."""

    def __init__(self, clusters: list[set[str]], full: set[str], at: int = -1) -> None:
        self.known = {node: set(cluster) for cluster in clusters for node in cluster}
        self.full, self.stopped, self.at, self.count = full, set[str](), at, 0

    def ask(self, node: str) -> dict[str, Any]:
        if node in self.stopped:
            return {"running": False}
        running = sorted(self.known[node] - self.stopped)
        counts = [9, 9, 9] if self.known[node] & self.full else [0, 1, 1]
        return {
            "running": True,
            "counts": counts,
            "known": sorted(self.known[node]),
            "running_nodes": running,
        }

    def call(self, _command: str, node: str, verb: str, *rest: str) -> str:
        if self.count == self.at:
            raise KeyboardInterrupt
        self.count += 1
        if verb == "stop_app":
            self.stopped.add(node)
        elif verb == "start_app":
            assert all(node in self.known[other] for other in self.known[node]), "inconsistent cluster"
            self.stopped.discard(node)
        elif verb == "forget_cluster_node":
            for other in self.known[node]:
                self.known[other] = self.known[other] - {rest[0]} if other != rest[0] else self.known[other]
        elif verb == "reset":
            assert node in self.stopped
            for other in self.known[node] - {node}:
                self.known[other] = self.known[other] - {node}
            self.known[node] = {node}
        else:
            assert verb == "join_cluster"
            assert node in self.stopped
            assert node not in self.known[rest[0]], "the cluster knows it already"
            members = {*self.known[rest[0]], node}
            for member in members:
                self.known[member] = set(members)
        return ""


CLUSTERS: dict[str, tuple[list[set[str]], set[str]]] = {
    "blank": ([{"a"}, {"b"}, {"c"}], set()),
    "one holds data": ([{"a"}, {"b"}, {"c"}], {"b"}),
    "a third joins": ([{"a", "b"}, {"c"}], {"a"}),
}


@pytest.mark.parametrize("case", CLUSTERS)
def test_a_cluster_is_formed(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    def form(nodes: Nodes) -> None:
        monkeypatch.setattr(rabbitmq_cluster, "Commands", lambda *_: nodes)
        with patch_module_args({"nodes": ["a", "b", "c"]}), pytest.raises(SystemExit) as end:
            rabbitmq_cluster.main()
        assert not end.value.code

    clusters, full = CLUSTERS[case]
    whole = Nodes(clusters, full)
    form(whole)
    assert set(map(frozenset, whole.known.values())) == {frozenset("abc")}
    assert whole.count
    for at in range(whole.count):
        nodes = Nodes(clusters, full, at)
        with pytest.raises(KeyboardInterrupt):
            form(nodes)
        nodes.at = -1
        form(nodes)
        assert (nodes.known, nodes.stopped) == (whole.known, set())


def test_a_node_that_lost_its_data_joins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(at: int = -1) -> Nodes:
        nodes = Nodes([{"a", "b", "c"}], {"a", "b"}, at)
        nodes.known["c"] = {"c"}
        return nodes

    whole = lost()
    for nodes in (whole, *(lost(at) for at in range(5))):
        monkeypatch.setattr(rabbitmq_cluster, "Commands", lambda *_, nodes=nodes: nodes)
        with patch_module_args({"nodes": ["a", "b", "c"]}):
            if nodes.at >= 0:
                with pytest.raises(KeyboardInterrupt):
                    rabbitmq_cluster.main()
                nodes.at = -1
            with pytest.raises(SystemExit) as end:
                rabbitmq_cluster.main()
        assert not end.value.code
        assert set(map(frozenset, nodes.known.values())) == {frozenset("abc")}
        assert not nodes.stopped
    assert whole.count == 5
