"""One host, from its inventory and its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plain import Plain, plain, texts


@dataclass(frozen=True)
class Host:
    """What is known of a host. What a site writes is unchecked here, and checked where it is used.

    Attributes:
        name: Its inventory name.
        groups: The groups that it is in.
        pools: What it changes or adds: ``fleet_host_pools``, and over it what `scale` persisted.
        hardware: As ``read_hardware`` takes it; none if nothing is known.
        nodename: Its part of its workers' node names; none if its facts are not known.
        gathered: Whether its facts are known.
        distribution: Name of its distribution.
        distribution_version: Version of its distribution.
        broker_version: The version of RabbitMQ that its inventory states.
        broker_package: Versions of RabbitMQ's package there, ``installed`` and ``candidate``; none if it was
            not asked.
        broker_source: Where its inventory takes RabbitMQ from, if not from the distribution.
        broker_memory: The share of its memory that its inventory gives RabbitMQ.
        broker_management_address: The address of its management API that its inventory states.
        broker_disk_mib: Size of the file system of RabbitMQ's data there; none if its facts are not known.
        open_files: Its limit of open files for a worker, if its inventory states one.
        client_users: Users that may publish tasks there.
        accounts: Those of them that the host has; none if it was not asked.
        python: What is known of the interpreter that the application is to have, as
            ``host.pythons.looked_for`` returns it; none if it was not looked for.
        installed: What runs on it, as ``records.installed`` returns it; none if it was not read.
        kit: The version of the kit that last changed it; empty if none says so.
        fleets: Name of the fleet that it carries, by part, as ``marks.carried`` returns it; none if it
            was not read.
        differs: Variables of the model whose value differs from the fleet's.
    """

    name: str
    groups: Sequence[str] = ()
    pools: Plain = None
    hardware: Plain = None
    nodename: Plain = None
    gathered: bool = False
    distribution: Plain = None
    distribution_version: Plain = None
    broker_version: Plain = None
    broker_package: Plain = None
    broker_source: Plain = None
    broker_memory: Plain = None
    broker_management_address: Plain = None
    broker_disk_mib: Plain = None
    open_files: Plain = None
    client_users: Plain = None
    accounts: Plain = None
    python: Plain = None
    installed: Plain = None
    kit: Plain = None
    fleets: Plain = None
    differs: Sequence[str] = ()


def read_host(raw: object, name: str = "this host") -> Host:
    """Read a host from plain data.

    Args:
        raw: A mapping of the attributes of ``Host``, each of which may be missing.
        name: Its name, if the mapping has none.
    """
    data = plain(raw)
    data = data if isinstance(data, dict) else {}
    attributes = {key: value for key, value in data.items() if key in Host.__dataclass_fields__}
    own_name = attributes.get("name")
    return Host(
        **attributes
        | {
            "name": own_name if isinstance(own_name, str) else name,
            "groups": texts(attributes.get("groups")),
            "gathered": bool(attributes.get("gathered")),
            "differs": texts(attributes.get("differs")),
        }
    )


def read_hosts(raw: object) -> dict[str, Host]:
    """Read hosts by their names from plain data.

    Args:
        raw: A mapping of names to what ``read_host`` takes.
    """
    data = plain(raw)
    return {name: read_host(host, name) for name, host in (data.items() if isinstance(data, dict) else ())}
