"""What the worker role writes, rendered as Ansible does and read as systemd does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fleet.host.names import BEAT, installation
from support.units import parse, pool, render

STATE = "/var/lib/celery-fleet"
UNKNOWN_TO_OLD_SYSTEMD = ("Unknown key name", "Unknown lvalue", "Failed to parse")


def service(plan: dict[str, Any] | None = None, **changes: Any) -> dict[str, list[str]]:
    return parse(render("worker.service.j2", plan or pool(), **changes))["Service"]


def command(plan: dict[str, Any]) -> dict[str, str]:
    """Return the options of the worker's command line."""
    (line,) = service(plan)["ExecStart"]
    words = line.split()
    for quiet in ("--without-gossip", "--without-heartbeat"):
        words.remove(quiet)
    assert words[0] == "/opt/shop/releases/shop-1/venv/bin/celery"
    assert words[1:4] == ["--app", "shop.app:app", "worker"]
    return dict(zip(words[4::2], words[5::2], strict=True))


def test_a_prefork_worker_gets_every_figure_of_the_plan() -> None:
    assert command(pool()) == {
        "--hostname": "cpu_worker_@n@@cpu1",
        "--queues": "cpu_ml,cpu_video",
        "--pool": "prefork",
        "--concurrency": "12",
        "--prefetch-multiplier": "1",
        "--max-tasks-per-child": "100",
        "--time-limit": "3600",
        "--soft-time-limit": "3000",
        "--loglevel": "INFO",
    }


def test_a_program_of_the_release_or_of_the_host_starts_the_worker() -> None:
    bare = service(pool())["ExecStart"]
    for program, path in (
        ("otel-run", "/opt/shop/releases/shop-1/venv/bin/otel-run"),
        ("/usr/bin/nice",) * 2,
    ):
        (line,) = service(pool(command_prefix=[program, "-n", "5"]))["ExecStart"]
        assert line == f"{path} -n 5 {bare[0]}"


def test_a_worker_sends_events_and_heartbeats_only_where_the_pool_says_so() -> None:
    (quiet,) = service(pool())["ExecStart"]
    (loud,) = service(pool(events=True))["ExecStart"]
    told = " --task-events "
    assert loud == quiet.replace(" --without-gossip --without-heartbeat ", told)
    assert told not in quiet


def test_a_site_adds_arguments_of_a_worker() -> None:
    (line,) = service(pool(worker_arguments=["--without-gossip", "-O", "fair"]))["ExecStart"]
    (bare,) = service(pool())["ExecStart"]
    assert line.split() == [*bare.split()[:-2], "--without-gossip", "-O", "fair", *bare.split()[-2:]]


@pytest.mark.parametrize("execution", ["threads", "gevent"])
def test_limits_that_an_execution_pool_ignores_are_left_out(execution: str) -> None:
    limits = {"--time-limit", "--soft-time-limit", "--max-tasks-per-child"}
    assert limits & command(pool(execution=execution)).keys() == {"--time-limit", "--soft-time-limit"}


def test_autoscaling_replaces_the_concurrency() -> None:
    options = command(pool(autoscale={"enabled": True, "min": 2, "max": 8}))
    assert options["--autoscale"] == "8,2"
    assert "--concurrency" not in options


def test_the_worker_is_stopped_and_watched_as_planned() -> None:
    values = service(pool(stop_timeout=7260), worker_watchdog=45, worker_start_timeout=120)
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "SyslogLevelPrefix": "false",
        "Slice": "celery-fleet-cpu.slice",
        "User": "celery-fleet-cpu",
        "Group": "celery-fleet",
        "StateDirectory": "celery-fleet-cpu",
        "StateDirectoryMode": "0700",
        "KillMode": "mixed",
        "KillSignal": "SIGTERM",
        "TimeoutStopSec": "7260",
        "TimeoutStopFailureMode": "abort",
        "TimeoutStartSec": "120",
        "WatchdogSec": "45",
        "Restart": "always",
        "OOMPolicy": "continue",
    }
    assert {key: values[key] for key in expected} == {key: [value] for key, value in expected.items()}
    assert parse(render("worker.service.j2", pool()))["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert parse(render("worker.service.j2", pool()))["Install"]["WantedBy"] == ["multi-user.target"]


def test_the_environment_of_the_pool_overrides_that_of_the_application_and_is_quoted() -> None:
    application = {
        "name": "shop",
        "celery_app": "shop.app:app",
        "environment": {"A": "app", "B": 'x "y" 5% \\', "C": "🦄"},
        "secrets": {
            "DATABASE_URL": {},
            "KEY": {"as": "file", "readers": ["cpu"]},
            "OTHER": {"readers": ["io"]},
        },
        "writable": ["/srv/uploads"],
        "working_directory": ".",
    }
    unit = service(pool(environment={"A": "pool", "OMP_NUM_THREADS": 1}), worker_app=application)
    values = unit["Environment"]
    own = ['"A=pool"', '"B=x \\"y\\" 5%% \\\\"', '"C=🦄"', '"OMP_NUM_THREADS=1"', "KEY=%d/KEY"]
    assert values[-5:] == own
    assert unit["EnvironmentFile"] == ["/etc/celery-fleet/application/cpu.env"]
    assert unit["LoadCredential"] == ["KEY:/etc/celery-fleet/application/cpu-KEY"]
    assert unit["SetCredential"] == ["KEY:\\n"]
    assert unit["ReadWritePaths"][1:] == [STATE, "/srv/uploads"]
    assert unit["WorkingDirectory"] == ["/opt/shop/releases/shop-1/src"]
    assert "CELERY_FLEET_POOL=cpu" in values
    assert "CELERY_FLEET_INSTANCE=%i" in values
    assert "CELERY_FLEET_FILE=/etc/celery-fleet/worker.json" in values


def test_a_worker_imports_nothing_that_a_task_can_write_and_stops_before_its_broker() -> None:
    unit = parse(render("worker.service.j2", pool()))
    # Celery puts this directory first in sys.path.
    assert unit["Service"]["WorkingDirectory"] == ["/opt/shop/releases/shop-1"]
    assert f"STATE_DIRECTORY={STATE}" in unit["Service"]["Environment"]
    # Tasks write to the user's home.
    assert "PYTHONNOUSERSITE=1" in unit["Service"]["Environment"]
    assert unit["Unit"]["After"] == [
        "network-online.target rabbitmq-server.service celery-fleet-results.service"
    ]
    assert "rabbitmq-server" not in " ".join(unit["Unit"]["Wants"])


def test_temporary_files_are_on_the_disk_unless_the_site_says_otherwise() -> None:
    assert "TMPDIR=/var/tmp" in service()["Environment"]
    chosen = service(pool(environment={"TMPDIR": "/dev/shm"}))["Environment"]
    assert chosen.index("TMPDIR=/var/tmp") < chosen.index('"TMPDIR=/dev/shm"')


def test_tasks_may_write_where_the_site_says() -> None:
    # What a worker counts outlives it.
    counters = "-/run/celery-fleet-counters/cpu"
    assert service()["ReadWritePaths"] == [counters, STATE]
    assert service()["UMask"] == ["0007"]
    assert "CELERY_FLEET_COUNTERS=/run/celery-fleet-counters/cpu" in service()["Environment"]
    sited = service(worker_writable_paths=["/srv/a", "/srv/b"])
    assert sited["ReadWritePaths"] == [counters, STATE, "/srv/a", "/srv/b"]


def test_a_command_is_the_application_s_user_with_a_pool_s_environment() -> None:
    lines = render("command.conf.j2", pool(environment={"A": "1"})).splitlines()
    assert {"User=celery-fleet", "Group=celery-fleet", 'Environment="A=1"'} <= set(lines)
    assert "Environment=CELERY_FLEET_FILE=/etc/celery-fleet/fleet.json" in lines
    assert "Environment=HOME=/var/lib/celery-fleet-commands" in lines
    # systemd would give it to that user alone.
    assert not [line for line in lines if line.startswith("StateDirectory")]


def test_the_slice_holds_the_budget() -> None:
    assert parse(render("worker.slice.j2", pool()))["Slice"] == {
        "CPUWeight": ["100"],
        "MemoryMax": ["28892M"],
        "MemorySwapMax": ["0"],
        "TasksMax": ["512"],
    }


@pytest.mark.parametrize("execution", ["prefork", "threads"])
def test_systemd_takes_every_key_and_finds_the_unit_confined(tmp_path: Path, execution: str) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "these tests need systemd-analyze (package systemd)"
    unit = tmp_path / "celery-fleet-cpu@x.service"
    unit.write_text(
        render("worker.service.j2", pool(execution=execution)).replace("/opt/shop/releases/shop-1/venv", "")
    )
    (tmp_path / "celery-fleet-cpu.slice").write_text(render("worker.slice.j2", pool()))
    for file in (unit, tmp_path / "celery-fleet-cpu.slice"):
        verify = subprocess.run(
            [analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False
        )
        assert not [
            line for line in verify.stderr.splitlines() if any(w in line for w in UNKNOWN_TO_OLD_SYSTEMD)
        ]
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout + rated.stderr


def test_a_site_opens_what_its_tasks_need() -> None:
    values = service(
        worker_devices=["/dev/nvidia0"],
        worker_address_families=["AF_NETLINK"],
        worker_system_calls=["@sandbox"],
        worker_tasks_max=99,
    )
    assert "PrivateDevices" not in values
    assert values["DeviceAllow"] == ["/dev/nvidia0 rw"]
    assert values["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6 AF_NETLINK"]
    assert values["SystemCallFilter"][-1] == "@sandbox"
    assert values["TasksMax"] == ["99"]


def test_a_reboot_waits_as_long_as_the_plan_says_and_needrestart_leaves_the_workers_alone() -> None:
    shutdown = parse(render("shutdown.conf.j2", worker_plan={"shutdown_timeout": 7560}))
    assert shutdown == {"Unit": {"JobTimeoutSec": ["7560"]}}
    places = {path.parent.name for path in map(Path, installation("shop")["shutdown"])}
    assert places == {f"{target}.target.d" for target in ("reboot", "poweroff", "halt", "kexec")}
    needrestart = render("needrestart.conf.j2")
    (pattern,) = re.findall(r"^\$nrconf\{override_rc\}\{qr\((.+)\)\} = 0;$", needrestart, re.MULTILINE)
    for unit in ("celery-fleet-io@shop-1_0a1b2c3d_1.service", BEAT):
        assert re.search(pattern, unit)
