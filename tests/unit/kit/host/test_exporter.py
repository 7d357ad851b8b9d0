"""The page of metrics of a host: what it says of good and hostile files, and to whom."""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fleet.host import certificate
from fleet.host.exporter import PEERS, Exporter, is_allowed
from fleet.host.exposition import Page, quantile
from fleet.host.machine import Machine
from fleet.host.metrics import METRICS, PREFIX, WAIT_EDGES
from fleet.host.names import BEAT, CA_FILE, COUNTERS, below
from fleet.host.scrape import Scrape
from fleet.host.systemd import SystemdError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.authority import Authority
from support.prometheus import command

from celery_fleet.worker.counters import Counters
from celery_fleet.worker.gate import Ending

UNIT = "celery-fleet-cpu@demo-1_0a1b2c3d_1.service"
SHOWN = f"""\
Id={UNIT}
LoadState=loaded
ActiveState=active
SubState=running
NRestarts=2
MainPID=77
ActiveEnterTimestampMonotonic=1000000

Id=celery-fleet-io@demo-1_0a1b2c3d_2.service
LoadState=loaded
ActiveState=failed
SubState=failed
NRestarts=9
MainPID=0

Id={BEAT}
LoadState=loaded
ActiveState=active
SubState=running
MainPID=78
"""
STATE = {
    "schema": 1,
    "updated": 1234.5,
    "pool": "cpu",
    "release": "demo-1",
    "pid": 77,
    "state": "consuming",
    "slots": 4,
    "reserved": 1,
    "hung": 3,
    "active": [{"id": "1", "name": "a", "queue": "q", "started": 1200.25}, {"started": 1100.0}],
    "last_task": 1230.0,
}
SCHEDULER = {
    "updated": 1234.0,
    "pid": 78,
    "role": "active",
    "entries": 2,
    "runs": {"nightly": {"last": 1000.0, "next": 2000.0}, "new": {"next": 1500.0}},
}
GROUP = "/celery.slice/celery-fleet.slice/celery-fleet-cpu.slice"
CGROUP = {
    "memory.current": "5000",
    "memory.peak": "9000",
    "memory.high": "max",
    "memory.max": "10000",
    "memory.stat": "anon 1\ninactive_file 1000",
    "memory.events": "low 0\nhigh 3\nmax 0\noom 1\noom_kill 2",
    "cpu.stat": "usage_usec 2500000\nuser_usec 1",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=1",
}


def put(host: Machine, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = host.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def say(host: Machine, unit: str, state: Any) -> None:
    host.place(unit).mkdir(parents=True, exist_ok=True)
    (host.place(unit) / "state.json").write_text(json.dumps(state))


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    """A host with a worker that runs, one that failed, a drained pool and the scheduler."""
    host = Machine(tmp_path, lambda *_: SHOWN)
    say(host, UNIT, STATE)
    say(host, BEAT, SCHEDULER)
    host.marks.mkdir(parents=True)
    (host.marks / "io").touch()
    put(
        host,
        {
            "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            "proc/77/cgroup": f"0::{GROUP}/{UNIT}",
            **{f"sys/fs/cgroup{GROUP}/{name}": text for name, text in CGROUP.items()},
        },
    )
    below(tmp_path, CA_FILE).write_bytes(Authority("kit").pem)
    place = below(tmp_path, COUNTERS) / "cpu"
    place.mkdir(parents=True)
    for number in ("1", "2"):
        counters = Counters(place / number)
        counters.serves(["cpu_ml"])
        task: Any = SimpleNamespace(name='shop."\\work')
        counters.ended(task, "cpu_ml", Ending("FAILURE", 20.0, "time_limit", "TimeLimitExceeded"), 0)
        counters.ended(task, "cpu_ml", Ending("SUCCESS", 0.02), 0)
    return host


SAMPLE = re.compile(rf"{PREFIX}(\w+)(\{{(?:[^\"}}]|\"(?:[^\"\\]|\\.)*\")*\}})? (\S+)")


def samples(page: str) -> dict[str, float]:
    """Read a page: each line is a comment or a sample of the form that Prometheus reads."""
    read = {}
    for line in page.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            key = f"{match[1]}{match[2] or ''}"
            assert key not in read, line
            read[key] = float(match[3])
    return read


def test_a_host_says_how_its_workers_are(host: Machine) -> None:
    page = Scrape(host).text()
    read = samples(page)
    worker = '{pool="cpu",worker="cpu_1"'
    task = '{pool="cpu",task="shop.\\"\\\\work"'
    expected = {
        f'tasks_total{task},state="success"}}': 2,
        f'tasks_total{task},state="retry"}}': 0,
        f'task_failures_total{task},reason="time_limit",exception="TimeLimitExceeded"}}': 2,
        f'task_runtime_seconds_bucket{task},le="0.01"}}': 0,
        f'task_runtime_seconds_bucket{task},le="0.03"}}': 2,
        f'task_runtime_seconds_bucket{task},le="10"}}': 2,
        f'task_runtime_seconds_bucket{task},le="30"}}': 4,
        f'task_runtime_seconds_bucket{task},le="+Inf"}}': 4,
        f"task_runtime_seconds_count{task}}}": 4,
        f"task_runtime_seconds_sum{task}}}": 40.04,
        'queue_tasks_total{pool="cpu",queue="cpu_ml",state="failure"}': 2,
        'task_wait_seconds_count{pool="cpu",queue="cpu_ml"}': 0,
        'child_exits_total{pool="cpu",reason="killed"}': 0,
        f'worker_info{worker},release="demo-1"}}': 1,
        f'worker_state{worker},state="consuming"}}': 1,
        f'worker_state{worker},state="silent"}}': 0,
        'worker_state{pool="io",worker="io_2",state="failed"}': 1,
        f"worker_restarts_total{worker}}}": 2,
        f"worker_slots{worker}}}": 4,
        f"worker_active_tasks{worker}}}": 2,
        f"worker_reserved_tasks{worker}}}": 1,
        f"worker_hung_threads{worker}}}": 3,
        f"worker_oldest_task_start_timestamp_seconds{worker}}}": 1100,
        f"worker_last_task_timestamp_seconds{worker}}}": 1230,
        f"worker_state_timestamp_seconds{worker}}}": 1234.5,
        'pool_memory_bytes{pool="cpu"}': 4000,
        'pool_memory_peak_bytes{pool="cpu"}': 9000,
        'pool_memory_limit_bytes{pool="cpu",kind="max"}': 10000,
        'pool_memory_high_total{pool="cpu"}': 3,
        'pool_oom_kills_total{pool="cpu"}': 2,
        'pool_cpu_seconds_total{pool="cpu"}': 2.5,
        'pool_pressure_seconds_total{pool="cpu",resource="memory"}': 1.5,
        'pool_drained{pool="cpu"}': 0,
        'pool_drained{pool="io"}': 1,
        'beat_role{role="active"}': 1,
        'beat_role{role="standby"}': 0,
        "beat_entries": 2,
        'beat_last_run_timestamp_seconds{entry="nightly"}': 1000,
        'beat_next_run_timestamp_seconds{entry="new"}': 1500,
        "beat_state_timestamp_seconds": 1234,
        "exporter_read_errors": 0,
    }
    assert {name: read.get(name) for name in expected} == pytest.approx(expected)
    assert 'pool_memory_limit_bytes{pool="cpu",kind="high"}' not in read
    # Everything that there is has been said, but for what the kernel of this host does not tell.
    told = {name for name in METRICS if re.search(rf"^# TYPE {PREFIX}{name} ", page, re.MULTILINE)}
    assert told == set(METRICS)


def test_the_page_is_what_prometheus_reads(host: Machine) -> None:
    checked = subprocess.run(
        [command("promtool"), "check", "metrics"],
        input=Scrape(host).text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_version_1_of_control_groups_says_what_it_has(host: Machine, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "sys")
    put(
        host,
        {
            "proc/self/mountinfo": (
                "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
            ),
            "proc/77/cgroup": f"4:memory:{GROUP}/{UNIT}\n2:cpu,cpuacct:{GROUP}/{UNIT}\n0::/",
            f"sys/fs/cgroup/memory{GROUP}/memory.usage_in_bytes": "5000",
            f"sys/fs/cgroup/memory{GROUP}/memory.max_usage_in_bytes": "6000",
            f"sys/fs/cgroup/memory{GROUP}/memory.limit_in_bytes": str(2**63 - 4096),
            f"sys/fs/cgroup/memory{GROUP}/memory.stat": "inactive_file 1\ntotal_inactive_file 2000",
            f"sys/fs/cgroup/cpu,cpuacct{GROUP}/cpuacct.usage": "1500000000",
        },
    )
    read = {name: value for name, value in samples(Scrape(host).text()).items() if name.startswith("pool_")}
    assert read == {
        'pool_memory_bytes{pool="cpu"}': 3000,
        'pool_memory_peak_bytes{pool="cpu"}': 6000,
        'pool_cpu_seconds_total{pool="cpu"}': 1.5,
        'pool_drained{pool="cpu"}': 0,
        'pool_drained{pool="io"}': 1,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=25)
@given(
    st.dictionaries(st.sampled_from(sorted({*STATE, *SCHEDULER, "queues"})), JSON), st.binary(max_size=200)
)
def test_no_page_is_broken_by_what_a_task_writes(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], content: bytes
) -> None:
    host = Machine(tmp_path_factory.mktemp("hostile"), lambda *_: SHOWN)
    for unit, pid in ((UNIT, 77), (BEAT, 78)):
        say(host, unit, state | {"pid": pid})
    place = below(host.root, COUNTERS) / "cpu"
    place.mkdir(parents=True)
    (place / "1").write_bytes(content)
    (place / "2").symlink_to("/etc/passwd")
    (place / "3").mkdir()
    read = samples(Scrape(host).text())
    assert read["exporter_read_errors"] == 3
    assert read['worker_restarts_total{pool="cpu",worker="cpu_1"}'] == 2


def test_without_an_answer_of_systemd_it_says_what_workers_report(host: Machine) -> None:
    def refuse(*_: str) -> str:
        raise SystemdError("Failed to connect to bus")

    host.call = refuse
    read = samples(Scrape(host).text())
    assert read["exporter_read_errors"] == 1
    assert read['worker_slots{pool="cpu",worker="cpu_1"}'] == 4
    assert read['beat_role{role="active"}'] == 1
    assert 'worker_restarts_total{pool="cpu",worker="cpu_1"}' not in read


def test_a_label_that_a_metric_does_not_have_is_a_mistake_of_the_kit() -> None:
    with pytest.raises(KeyError):
        Page().add("worker_slots", 1, pool="cpu")
    with pytest.raises(KeyError):
        Page().add("no_such_metric", 1)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ([0] * 16, 0.95, None),
        ([10, 0, 0, 0] + [0] * 12, 0.5, 0.025),
        ([0, 0, 0, 100] + [0] * 12, 0.95, 0.975),
        ([50, 0, 0, 50] + [0] * 12, 0.95, 0.95),
        ([0] * 15 + [3], 0.95, 14400),
    ],
)
def test_a_quantile_is_that_of_prometheus(buckets: list[int], share: float, expected: float | None) -> None:
    assert quantile(share, WAIT_EDGES, buckets) == (None if expected is None else pytest.approx(expected))


def test_a_certificate_says_when_it_ends() -> None:
    one, other = Authority("one"), Authority("other")
    end = one.certificate.not_valid_after_utc.timestamp()
    assert certificate.ends(one.pem.decode()) == int(end)
    both = one.pem.decode() + other.pem.decode()
    assert certificate.ends(both) == min(int(end), int(other.certificate.not_valid_after_utc.timestamp()))
    for broken in ("", "no certificate", one.pem.decode()[:200], one.pem.decode().replace("M", "A")):
        with pytest.raises(certificate.CertificateError):
            certificate.ends(broken)


@pytest.fixture
def serve(host: Machine) -> Iterator[Any]:
    """Starts exporters on sockets of the test's own."""
    running: list[Exporter] = []

    def start(*files: Path, node: Path | None = None) -> str:
        exporter = Exporter(socket.create_server(("127.0.0.1", 0)), host, (), *files, node=node)
        running.append(exporter)
        threading.Thread(target=exporter.serve_forever, args=(0.05,), daemon=True).start()
        return f"http{'s' if files else ''}://127.0.0.1:{exporter.socket.getsockname()[1]}"

    yield start
    for exporter in running:
        exporter.shutdown()
        exporter.server_close()


def get(url: str, context: ssl.SSLContext | None = None) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=60, context=context) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_the_page_is_served_and_nothing_else_is(serve: Any) -> None:
    url = serve()
    kind, page = get(f"{url}/metrics")
    assert kind.startswith("text/plain; version=0.0.4")
    assert samples(page)["beat_entries"] == 2
    for path in ("/", "/../etc/passwd", "/metrics/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{url}{path}")


def test_node_exporter_is_asked_by_its_socket(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    url = serve(node=path)
    with pytest.raises(urllib.error.HTTPError, match="502"):
        get(f"{url}/node")
    answers = [(200, b"node_load1 0.5\n"), (500, b"broken")]

    class Node(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/metrics"
            status, page = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def address_string(self) -> str:
            return "a socket"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with socketserver.ThreadingUnixStreamServer(str(path), Node) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        assert get(f"{url}/node")[1] == "node_load1 0.5\n"
        with pytest.raises(urllib.error.HTTPError, match="502"):
            get(f"{url}/node")
        server.shutdown()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{serve()}/node")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", True),
        ("::ffff:10.0.0.7", True),
        ("192.0.2.4", True),
        ("2001:db8::1", True),
        ("10.0.1.7", False),
        ("192.0.2.5", False),
        ("2001:db9::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_this_host_and_the_monitoring_are_answered(address: str, allowed: bool) -> None:
    peers = ("10.0.0.0/24", "192.0.2.4", "2001:db8::/32", "no-such-name.invalid")
    assert is_allowed(address, peers) == allowed
    assert is_allowed("127.0.0.1", ["localhost"])


def test_peers_that_say_nothing_keep_none_waiting_for_ever(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.host.exporter.PATIENCE", 0.2)
    url = serve()
    port = int(url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(PEERS)]
    for peer in silent:
        peer.settimeout(60)
        assert peer.recv(1) == b""  # it was let go
        peer.close()
    # The next may be as slow as a busy machine makes it.
    monkeypatch.setattr("fleet.host.exporter.PATIENCE", 60)
    assert get(f"{url}/metrics")


def test_with_tls_only_those_are_served_who_have_a_certificate_of_the_fleet(
    serve: Any, tmp_path: Path
) -> None:
    fleet, stranger = Authority("fleet"), Authority("stranger")
    authority = tmp_path / "fleet.pem"
    authority.write_bytes(fleet.pem)
    pairs = {}
    for each in (fleet, stranger):
        place = tmp_path / each.name.rfc4514_string()
        place.mkdir()
        each.server("127.0.0.1", place)
        (pairs[each],) = place.iterdir()
    url = serve(pairs[fleet], authority)

    def context(pair: Path | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=authority)
        if pair is not None:
            made.load_cert_chain(pair)
        return made

    _, page = get(f"{url}/metrics", context(pairs[fleet]))
    assert f'certificate_expiry_timestamp_seconds{{file="{pairs[fleet]}"}}' in samples(page)
    for pair in (None, pairs[stranger]):
        with pytest.raises(OSError, match=r"(?i)ssl|reset|closed|alert"):
            get(f"{url}/metrics", context(pair))
    with pytest.raises(OSError):
        get(f"{url.replace('https', 'http')}/metrics")

    # A rotation replaces the files of a server that runs: from now on only the other authority counts.
    before = tmp_path / "before.pem"
    before.write_bytes(pairs[fleet].read_bytes())
    pairs[fleet].write_bytes(pairs[stranger].read_bytes())
    authority.write_bytes(stranger.pem)
    assert get(f"{url}/metrics", context(pairs[stranger]))
    with pytest.raises(OSError, match=r"(?i)ssl|reset|closed|alert"):
        get(f"{url}/metrics", context(before))
