"""What a host says of its workers and its scheduler, as one page of metrics; read anew for each page."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from . import certificate, cgroup, counters
from .exposition import Page
from .machine import Machine
from .metrics import BEAT_ROLES, EXITS, SCHEMA, STATES, WORKER_STATES
from .names import BEAT, CA_FILE, COUNTERS, INSTANCES, PREFIX, Name, below, slice_of
from .status import PROPERTIES, beat, instance, read_units
from .systemd import SystemdError

_STATES: Final = len(STATES)


class Scrape:
    """Makes one page.

    Args:
        host: The host.
        certificates: Paths of further certificates whose ends are of interest.
    """

    def __init__(self, host: Machine, certificates: Iterable[Path] = ()) -> None:
        self._host = host
        self._certificates = [below(host.root, CA_FILE), *certificates]
        self._page = Page()
        self._errors = 0
        self._now, self._monotonic = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)

    def text(self) -> str:
        """Return the page."""
        units = self._units()
        scheduler = units.pop(BEAT, None)
        for unit in units.values():
            self._worker(unit)
        named = {name.pool for name in map(Name.parse, units) if name}
        places = below(self._host.root, COUNTERS)
        counted = {path.name for path in places.iterdir()} if places.is_dir() else set()
        drained = self._host.drained()
        for pool in sorted(named | counted | drained):
            self._page.add("pool_drained", float(pool in drained), pool=pool)
            self._counters(pool, places / pool)
        for pool, process in self._processes(units).items():
            self._budget(pool, process)
        if scheduler is not None:
            self._scheduler(scheduler)
        for path in self._certificates:
            self._certificate(path)
        self._page.add("exporter_info", 1, schema=str(SCHEMA))
        self._page.add("exporter_read_errors", self._errors)
        return self._page.text()

    def _units(self) -> dict[str, Mapping[str, str]]:
        """Return the units of workers and the scheduler; without systemd's answer those that report."""
        properties = f"--property={','.join((*PROPERTIES, 'LoadState'))}"
        try:
            shown = read_units(self._host.systemctl("show", properties, "--", INSTANCES, BEAT))
            return {unit["Id"]: unit for unit in shown if unit.get("LoadState") != "not-found"}
        except (SystemdError, OSError):
            self._errors += 1
        reports = sorted(self._host.runtime.glob(f"{PREFIX}*"))
        named = {f"{path.name}.service": self._host.state(f"{path.name}.service") for path in reports}
        return {
            unit: {
                "Id": unit,
                "ActiveState": "active",
                "SubState": "running",
                "MainPID": str(state.get("pid", "")),
            }
            for unit, state in named.items()
            if unit == BEAT or Name.parse(unit)
        }

    def _processes(self, units: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Return a process of each pool that runs."""
        parsed = ((Name.parse(unit), shown.get("MainPID", "")) for unit, shown in units.items())
        return {name.pool: pid for name, pid in parsed if name and pid.isdecimal() and pid != "0"}

    def _worker(self, unit: Mapping[str, str]) -> None:
        name, state = Name.parse(unit["Id"]), self._host.state(unit["Id"])
        if name is None or unit["ActiveState"] == "inactive":
            return
        shown = instance(unit, state, None, self._now, self._monotonic)
        labels = {"pool": name.pool, "worker": f"{name.pool}_{name.number}"}
        reports = shown["state_age_s"] is not None
        word = shown["state"] if reports else "failed" if unit["ActiveState"] == "failed" else "silent"
        page = self._page
        page.add("worker_info", 1, **labels, release=str(shown["release"]))
        page.add_states("worker_state", "state", WORKER_STATES, word, **labels)
        if "NRestarts" in unit:
            page.add("worker_restarts_total", shown["restarts"], **labels)
        if shown["up_s"] is not None:
            entered = int(unit["ActiveEnterTimestampMonotonic"]) / 1e6
            page.add("worker_start_timestamp_seconds", round(self._now - self._monotonic + entered), **labels)
        if not reports:
            return
        active = shown["active"]
        page.add("worker_slots", shown["slots"], **labels)
        page.add("worker_active_tasks", None if active is None else len(active), **labels)
        page.add("worker_reserved_tasks", shown["reserved"], **labels)
        page.add("worker_hung_threads", shown["hung"], **labels)
        page.add("worker_last_task_timestamp_seconds", state.get("last_task"), **labels)
        page.add("worker_state_timestamp_seconds", state.get("updated"), **labels)
        begun = [task["started"] for task in state.get("active", ()) if task["started"] is not None]
        page.add("worker_oldest_task_start_timestamp_seconds", min(begun, default=None), **labels)

    def _counters(self, pool: str, place: Path) -> None:
        figures, errors = counters.read(place)
        self._errors += errors
        page = self._page
        for (kind, *name), values in sorted(figures.items()):
            if kind == "pool":
                self._whole(pool, values)
            elif kind == "failure":
                task, reason, exception = name
                labels = {"pool": pool, "task": task, "reason": reason, "exception": exception}
                page.add("task_failures_total", values[0], **labels)
            elif kind == "task":
                self._ends("tasks_total", values, pool=pool, task=name[0])
                total, *buckets = values[_STATES:]
                page.add_histogram("task_runtime_seconds", total, buckets, pool=pool, task=name[0])
            else:
                labels = {"pool": pool, "queue": name[0]}
                self._ends("queue_tasks_total", values, **labels)
                again, skewed, total, *buckets = values[_STATES:]
                page.add("task_redeliveries_total", again, **labels)
                page.add("task_waits_skewed_total", skewed, **labels)
                page.add_histogram("task_wait_seconds", total, buckets, **labels)

    def _whole(self, pool: str, values: list[float]) -> None:
        named = dict(zip((*counters.POOL, *EXITS), values, strict=True))
        waited, count = (named.pop(f"task_prefetch_seconds_{part}") for part in ("sum", "count"))
        self._page.add_summary("task_prefetch_seconds", waited, count, pool=pool)
        for reason in EXITS:
            self._page.add("child_exits_total", named.pop(reason), pool=pool, reason=reason)
        for metric, value in named.items():
            self._page.add(metric, value, pool=pool)

    def _ends(self, metric: str, values: list[float], **labels: str) -> None:
        for state, value in zip(STATES, values, strict=False):
            self._page.add(metric, value, **labels, state=state)

    def _budget(self, pool: str, process: str) -> None:
        page, group, root = self._page, slice_of(pool), self._host.root
        used = cgroup.usage(process, group, root)
        page.add("pool_memory_bytes", used.memory, pool=pool)
        page.add("pool_memory_peak_bytes", used.memory_peak, pool=pool)
        page.add("pool_memory_limit_bytes", used.memory_high, pool=pool, kind="high")
        page.add("pool_memory_limit_bytes", used.memory_max, pool=pool, kind="max")
        page.add("pool_memory_high_total", used.slowed, pool=pool)
        page.add("pool_cpu_seconds_total", used.cpu_seconds, pool=pool)
        page.add("pool_oom_kills_total", cgroup.oom_kills(process, group, root), pool=pool)
        for resource, seconds in used.pressure.items():
            page.add("pool_pressure_seconds_total", seconds, pool=pool, resource=resource)

    def _scheduler(self, unit: Mapping[str, str]) -> None:
        state = self._host.state(BEAT)
        shown = beat(unit, state, self._now, self._monotonic)
        page = self._page
        page.add_states("beat_role", "role", BEAT_ROLES, str(shown["role"]))
        page.add("beat_entries", shown["entries"])
        if shown["state_age_s"] is None:
            return
        page.add("beat_state_timestamp_seconds", state.get("updated"))
        runs: Mapping[str, Mapping[str, Any]] = state.get("runs") or {}
        for entry, each in sorted(runs.items()):
            page.add("beat_last_run_timestamp_seconds", each.get("last"), entry=entry)
            page.add("beat_next_run_timestamp_seconds", each.get("next"), entry=entry)

    def _certificate(self, path: Path) -> None:
        try:
            end = certificate.ends(path.read_text())
        except FileNotFoundError:
            return
        except (OSError, ValueError, certificate.CertificateError):
            self._errors += 1
            return
        self._page.add("certificate_expiry_timestamp_seconds", end, file=str(path))
