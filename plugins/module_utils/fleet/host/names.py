"""Names of the fleet's units, slices, nodes and files on a host: made and read here, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

# The fleet that a site has unless it names it: what carries no name is its own.
FLEET: Final = "celery_fleet"
# User of hooks, commands and builds' checks, and the group of every process of the application.
USER: Final = "celery-fleet"
# Group of whoever publishes tasks: that user, and those of `fleet_client_users`.
CLIENTS: Final = "celery-fleet-client"
# Who runs the verbs that start a release's interpreter, on the control host; its exports lie in its home.
OPERATOR_USER: Final = "celery-fleet-operator"
# It builds packages without a wheel, and does nothing else.
BUILDER: Final = "celery-fleet-build"
# The user of the scheduler, and of a group of its own.
BEAT_USER: Final = "celery-fleet-beat"
UNITS: Final = PurePosixPath("/etc/systemd/system")
CONFIG: Final = PurePosixPath("/etc/celery-fleet")
STATE: Final = PurePosixPath("/var/lib/celery-fleet")
OPERATOR_HOME: Final = PurePosixPath("/var/lib/celery-fleet-operator")
# The home of hooks, commands and the import of a build, where no task writes.
COMMANDS_HOME: Final = PurePosixPath("/var/lib/celery-fleet-commands")
RUNTIME: Final = PurePosixPath("/run/celery-fleet")
# What root orders: a directory for each unit, in which nobody else writes.
ORDERS: Final = PurePosixPath("/run/celery-fleet-orders")
# What workers count: a directory for each pool, which outlives its instances; and what makes it at boot.
COUNTERS: Final = PurePosixPath("/run/celery-fleet-counters")
TMPFILES: Final = PurePosixPath("/etc/tmpfiles.d/celery-fleet.conf")
LOCK: Final = PurePosixPath("/run/celery-fleet.lock")
PROGRAM: Final = PurePosixPath("/usr/local/lib/celery-fleet")
FLEET_FILE: Final = CONFIG / "fleet.json"
# The same for workers, who are no clients.
WORKER_FILE: Final = CONFIG / "worker.json"
BEAT_FILE: Final = CONFIG / "beat.json"
SECRETS: Final = CONFIG / "secrets"
# The application's own secrets; and the paths of its files, so that those that it has no longer are removed.
APPLICATION: Final = CONFIG / "application"
FILES_RECORD: Final = CONFIG / "files.json"
DRAINED: Final = CONFIG / "drained"
REVOKED: Final = CONFIG / "revoked.json"
CA_FILE: Final = CONFIG / "ca.pem"
# The version of the kit that last changed the host.
KIT_FILE: Final = CONFIG / "kit"
# The name of the fleet that a host carries: as a host of workers or clients, and as a broker.
FLEET_MARK: Final = CONFIG / "fleet"
BROKER_FILE: Final = PurePosixPath("/etc/rabbitmq/conf.d/10-celery-fleet.conf")
BROKER_MARK: Final = PurePosixPath("/etc/rabbitmq/celery-fleet.name")
# What a command of the application has: of the whole application, and of each pool of the host.
COMMAND: Final = CONFIG / "command.conf"
COMMANDS: Final = CONFIG / "commands"
COMMAND_LOCK: Final = PurePosixPath("/run/celery-fleet-command.lock")
# Says that the kit made an application's directory, whose name another package may use, too.
ROOT_MARK: Final = ".celery-fleet"
# Stands in them for the release.
RELEASE: Final = "@release@"
# The program for operators, and the output of commands.
OPERATOR: Final = PurePosixPath("/usr/local/bin/celery-fleet")
LOGS: Final = PurePosixPath("/var/log/celery-fleet")
# How long systemd waits before it forces the end of the host; and what needrestart leaves alone.
SHUTDOWN: Final = tuple(
    UNITS / f"{target}.target.d/celery-fleet.conf" for target in ("reboot", "poweroff", "halt", "kexec")
)
NEEDRESTART: Final = PurePosixPath("/etc/needrestart/conf.d/celery-fleet-worker.conf")

PREFIX: Final = "celery-fleet-"
# The server of results, which has a user of its own.
RESULTS: Final = f"{PREFIX}results.service"
RESULTS_USER: Final = "celery-fleet-results"
RESULTS_CONFIG: Final = PurePosixPath("/etc/celery-fleet-results")
RESULTS_STATE: Final = PurePosixPath("/var/lib/celery-fleet-results")
RESULTS_SOCKET: Final = PurePosixPath("/run/celery-fleet-results/server.sock")
RESULTS_PASSWORD: Final = RESULTS_CONFIG / "results_kit"
RESULTS_FILE: Final = RESULTS_CONFIG / "server.conf"
RESULTS_USERS: Final = RESULTS_CONFIG / "users.acl"
RESULTS_MARK: Final = RESULTS_CONFIG / "fleet"
# Serves the host's metrics, as a user without rights.
EXPORTER: Final = f"{PREFIX}exporter.service"
EXPORTER_SOCKET: Final = f"{PREFIX}exporter.socket"
EXPORTER_USER: Final = f"{PREFIX}exporter"
EXPORTER_CERTIFICATE: Final = PurePosixPath("/etc/celery-fleet-exporter/exporter.pem")
# Node exporter, which the exporter asks by a socket.
NODE: Final = f"{PREFIX}node.service"
NODE_SOCKET: Final = f"{PREFIX}node.socket"
NODE_SOCKET_PATH: Final = PurePosixPath("/run/celery-fleet-node.sock")
# What the exporter is asked for by those who want node exporter's figures.
NODE_PATH: Final = "/node"
# The servers of monitoring.
MONITORING_USER: Final = "celery-fleet-monitoring"
MONITORING_CONFIG: Final = PurePosixPath("/etc/celery-fleet-monitoring")
MONITORING_STATE: Final = PurePosixPath("/var/lib/celery-fleet-monitoring")
# Shows tasks and workers to people, who reach it by its socket.
FLOWER: Final = f"{PREFIX}flower.service"
FLOWER_USER: Final = "celery-fleet-flower"
FLOWER_CONFIG: Final = PurePosixPath("/etc/celery-fleet-flower")
FLOWER_ROOT: Final = PurePosixPath("/opt/celery-fleet-flower")
FLOWER_SOCKET: Final = PurePosixPath("/run/celery-fleet-flower/http.sock")
# nginx, with TLS and a login before the pages of a host.
GATEWAY: Final = f"{PREFIX}gateway.service"
GATEWAY_USER: Final = "celery-fleet-gateway"
GATEWAY_CONFIG: Final = PurePosixPath("/etc/celery-fleet-gateway")
BEAT: Final = f"{PREFIX}beat.service"
# A command that an operator runs has a name of its own; hooks have one for each kind.
RUN: Final = f"{PREFIX}run-"
# One instance for each worker that ends: a single unit would miss an end that comes while it runs.
PRUNE: Final = "prune-celery-fleet@.service"
# Pattern of systemd for every instance of every pool.
INSTANCES: Final = f"{PREFIX}*@*.service"
# Stands in a unit's text for the number of its instance, which only the host knows.
NUMBER: Final = "@n@"
# Only the kit's own units of instances have this line.
MARK: Final = "Environment=CELERY_FLEET_POOL="

# systemd takes no longer ones.
_LONGEST_USER: Final = 31
_OTHER_ACCOUNTS: Final = (
    CLIENTS,
    OPERATOR_USER,
    BEAT_USER,
    RESULTS_USER,
    EXPORTER_USER,
    MONITORING_USER,
    FLOWER_USER,
    GATEWAY_USER,
    BUILDER,
    COMMANDS_HOME.name,
)

_UNIT: Final = re.compile(
    rf"{PREFIX}(?P<pool>[^@]+)@(?P<release>.+?)(?:_(?P<digest>[0-9a-f]{{8}})_(?P<number>\d+))?\.service"
)
_NODE: Final = re.compile(r"(?P<pool>.+)_worker(?:_(?P<number>\d+))?@(?P<host>[^@]+)")


@dataclass(frozen=True)
class Name:
    """The parts of an instance's unit name; a name that the kit did not make has no digest."""

    pool: str
    release: str
    digest: str = ""
    number: int = 0

    @classmethod
    def parse(cls, unit: str) -> Name | None:
        """Read the name of a unit; none if it is no instance's.

        Args:
            unit: Name of a unit.
        """
        match = _UNIT.fullmatch(unit)
        return match and cls(
            match["pool"], match["release"], match["digest"] or "", int(match["number"] or 0)
        )

    @property
    def instance(self) -> str:
        """What stands between the at sign and the suffix."""
        return f"{self.release}_{self.digest}_{self.number}" if self.digest else self.release

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return f"{PREFIX}{self.pool}@{self.instance}.service"


@dataclass(frozen=True)
class Node:
    """The name of a worker in Celery's remote control, with or without the number of its instance."""

    pool: str
    host: str
    number: int | str | None = None

    def __str__(self) -> str:
        number = "" if self.number is None else f"_{self.number}"
        return f"{self.pool}_worker{number}@{self.host}"

    @classmethod
    def parse(cls, name: str) -> Node | None:
        """Read a node's name; none if it is no worker's of the fleet.

        Args:
            name: The name, as Celery shows it.
        """
        match = _NODE.fullmatch(name)
        return match and cls(match["pool"], match["host"], match["number"] and int(match["number"]))

    @property
    def planned(self) -> str:
        """The name as a plan has it, which is that of all instances."""
        return str(self.numbered(None))

    def numbered(self, number: int | str | None) -> Node:
        """Return the node of another instance of the pool on this host."""
        return Node(self.pool, self.host, number)


def node_pattern(pool: str) -> str:
    """Return a regular expression that matches every node of a pool, and no other pool's.

    Args:
        pool: The pool; its name holds no character that means something in a pattern.
    """
    return rf"{pool}_worker(_\d+)?@.+"


def slice_of(pool: str) -> str:
    """Name the slice that holds a pool's budget."""
    return f"{PREFIX}{pool}.slice"


def pool_of(slice_name: str) -> str:
    """Name the pool of a slice."""
    return slice_name.removeprefix(PREFIX).removesuffix(".slice")


def user_of(pool: str) -> str:
    """Name the Unix user of a pool's workers, and the group that only it is in.

    A pool's name may be one character too long for that, or make the name of another user of the kit.
    """
    name = f"{PREFIX}{pool}"
    if len(name) <= _LONGEST_USER and name not in _OTHER_ACCOUNTS:
        return name
    # No pool's name has a hyphen.
    return f"{name[: _LONGEST_USER - 9]}-{hashlib.sha256(pool.encode()).hexdigest()[:8]}"


def home_of(user: str) -> PurePosixPath:
    """Return the directory that only a pool's or the scheduler's user reads."""
    return STATE.with_name(user)


def units_of(pool: str) -> str:
    """Name the units of a pool, open between ``@`` and the suffix, where its instances differ."""
    return f"{PREFIX}{pool}@.service"


def root_of(application: str) -> PurePosixPath:
    """Return an application's directory, which has ``releases``, ``incoming`` and the link ``current``."""
    return PurePosixPath("/opt", application)


def made_by_kit(entries: Collection[str]) -> bool:
    """Return whether the kit made an application's directory; its first versions put no mark there.

    Args:
        entries: The names in it.
    """
    return ROOT_MARK in entries or {"releases", "incoming"} <= {*entries}


def below(root: Path, place: PurePosixPath) -> Path:
    """Return a place of this file where another directory stands for the root of the file system."""
    return root / place.relative_to("/")


def installation(application: str, fleet: str = FLEET) -> dict[str, str | list[str]]:
    """Return where everything lies on a host, for roles and playbooks.

    Args:
        application: Name of the application.
        fleet: Name of the fleet.

    Returns:
        The name of the ``fleet``, the users ``user``, ``beat_user`` and ``operator_user`` with its
        ``operator_home``, the group ``clients``, directories (``config``, ``application``, ``drained``,
        ``secrets``, ``state``, ``units``, ``program``, ``commands``, ``commands_home``, ``root`` of the
        application with its ``root_mark``, its ``releases`` and ``incoming``), the link ``current`` to its
        release, files (``fleet_file``, ``worker_file``, ``beat_file``, ``beat_started``, ``kit_file``,
        ``fleet_mark``, ``ca_file``, ``needrestart``, several ``shutdown``, ``command``, ``operator``), units
        (``beat_unit``, ``prune_unit``) and what stands for the ``release`` in the files of commands.
    """
    root = root_of(application)
    return {
        "fleet": fleet,
        "user": USER,
        "beat_user": BEAT_USER,
        "clients": CLIENTS,
        "operator_user": OPERATOR_USER,
        "operator_home": str(OPERATOR_HOME),
        "config": str(CONFIG),
        "application": str(APPLICATION),
        "drained": str(DRAINED),
        "state": str(STATE),
        "orders": str(ORDERS),
        "counters": str(COUNTERS),
        "exporter_unit": EXPORTER,
        "exporter_socket": EXPORTER_SOCKET,
        "exporter_user": EXPORTER_USER,
        "exporter_certificate": str(EXPORTER_CERTIFICATE),
        "node_unit": NODE,
        "node_socket": NODE_SOCKET,
        "node_socket_path": str(NODE_SOCKET_PATH),
        "tmpfiles": str(TMPFILES),
        "units": str(UNITS),
        "program": str(PROGRAM),
        "root": str(root),
        "root_mark": ROOT_MARK,
        "releases": str(root / "releases"),
        "incoming": str(root / "incoming"),
        "current": str(root / "current"),
        "fleet_file": str(FLEET_FILE),
        "worker_file": str(WORKER_FILE),
        "beat_file": str(BEAT_FILE),
        "beat_started": str(RUNTIME / BEAT.removesuffix(".service") / "started"),
        "secrets": str(SECRETS),
        "kit_file": str(KIT_FILE),
        "fleet_mark": str(FLEET_MARK),
        "results_mark": str(RESULTS_MARK),
        "ca_file": str(CA_FILE),
        "shutdown": [str(path) for path in SHUTDOWN],
        "needrestart": str(NEEDRESTART),
        "command": str(COMMAND),
        "commands": str(COMMANDS),
        "commands_home": str(COMMANDS_HOME),
        "operator": str(OPERATOR),
        "release": RELEASE,
        "beat_unit": BEAT,
        "prune_unit": PRUNE,
        "results_unit": RESULTS,
        "results_user": RESULTS_USER,
        "results_config": str(RESULTS_CONFIG),
        "results_state": str(RESULTS_STATE),
        "results_file": str(RESULTS_FILE),
        "results_users": str(RESULTS_USERS),
        "results_socket": str(RESULTS_SOCKET),
        "results_password": str(RESULTS_PASSWORD),
        "monitoring_user": MONITORING_USER,
        "monitoring_config": str(MONITORING_CONFIG),
        "monitoring_state": str(MONITORING_STATE),
        "flower_unit": FLOWER,
        "flower_user": FLOWER_USER,
        "flower_config": str(FLOWER_CONFIG),
        "flower_root": str(FLOWER_ROOT),
        "flower_socket": str(FLOWER_SOCKET),
        "gateway_unit": GATEWAY,
        "gateway_user": GATEWAY_USER,
        "gateway_config": str(GATEWAY_CONFIG),
    }
