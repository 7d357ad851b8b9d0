"""The checked model: frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..host.names import FLEET
from .layers import Origins, variable_of


@dataclass(frozen=True)
class Demand:
    """What one running task needs of its host, in cores and MiB."""

    cores: Fraction
    memory_mib: Fraction


@dataclass(frozen=True)
class Autoscale:
    """The range of worker processes of a pool that grows and shrinks."""

    enabled: bool
    min: int | None
    max: int | None


@dataclass(frozen=True)
class Queue:
    """One queue of a pool; ``max_length`` counts tasks, none means no limit, or no priorities."""

    name: str
    routing_key: str
    max_length: int | None
    overflow: str
    max_priority: int | None = None


@dataclass(frozen=True)
class Pool:
    """A pool with all its effective fields, for the fleet or for one host.

    Attributes are the fields of ``fleet_pools``; ``origins`` says which layer gave each of them.
    """

    name: str
    kind: str
    exchange: str
    exchange_type: str
    queue_type: str
    queues: Mapping[str, Queue]
    overflow: str
    delivery_limit: int
    execution: str
    acknowledgement: str
    rollover: str
    weight: Fraction
    concurrency: int | None
    min_concurrency: int
    max_concurrency: int | None
    autoscale: Autoscale
    environment: Mapping[str, str]
    demand: Demand
    prefetch_multiplier: int
    max_tasks_per_child: int
    time_limit: int
    soft_time_limit: int
    events: bool = False
    command_prefix: Sequence[str] = ()
    worker_arguments: Sequence[str] = ()
    eta_horizon: int | None = None
    calls: Sequence[str] | None = None
    wait_target: int | None = None
    failure_ratio: Fraction = Fraction(1, 10)
    severity: str = "warning"
    origins: Origins = field(default_factory=dict, compare=False, repr=False)

    def variable(self, *path: str) -> str:
        """Name the variable that gave a field, such as ``fleet_host_pools.io.concurrency``."""
        return variable_of(self.origins, f"fleet_pools.{self.name}", path)


@dataclass(frozen=True)
class Reserve:
    """Shares of every host that no pool plans with, from 0 to below 1."""

    cores: Fraction
    memory: Fraction


@dataclass(frozen=True)
class Broker:
    """The broker as its clients see it.

    Attributes:
        managed: Whether the kit installs it; of another one it needs the last four.
        api: Address of its management API.
        administrator: As whom the kit works there.
        user_prefix: What the names of the fleet's users begin with.
        ca: File on the controller with the authorities of its certificates.
    """

    vhost: str
    port: int
    management_port: int
    nodes: Sequence[str]
    tls: bool = False
    client_control: bool = False
    max_message_mib: int = 16
    max_backlog_mib: int = 16384
    max_connections: int = 10_000
    managed: bool = True
    api: str = ""
    administrator: str = ""
    user_prefix: str = ""
    ca: str = ""

    @property
    def max_message_size(self) -> int:
        """The largest message in bytes."""
        return self.max_message_mib * 1024**2


@dataclass(frozen=True)
class Results:
    """Where the results of tasks are kept; ``memory`` is a share of the host's."""

    address: str
    port: int
    memory: Fraction
    tls: bool = False


@dataclass(frozen=True)
class Monitoring:
    """What is kept of the fleet's figures, and who is told of alerts; ``routes`` by severity.

    Of the times that the table of alerts has, ``patience`` is the share that they wait here.
    """

    scrape: int
    retention_days: int
    size_mib: int
    patience: Fraction = Fraction(1)
    receivers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Flower:
    """What Flower may do and keep, on the hosts that run it."""

    runs: bool = False
    port: int = 5555
    max_tasks: int = 10_000
    control: bool = False
    show_arguments: bool = False


@dataclass(frozen=True)
class Model:
    """A whole fleet. Fields at fault are left out or at their defaults; see the findings beside it."""

    layers: Mapping[str, Mapping[str, Any]]
    pools: Mapping[str, Pool]
    profiles: Mapping[str, Mapping[str, Mapping[str, Any]]]
    reserve: Reserve
    routing: Mapping[str, Any]
    broker: Broker
    app: Mapping[str, Any]
    schedule: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Results | None = None
    monitoring: Monitoring = Monitoring(15, 30, 20480)
    flower: Flower = Flower()
    name: str = FLEET
