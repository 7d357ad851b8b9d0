"""The hardware of a host: what its facts say, what its inventory declares."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from ..findings import Findings
from ..model.host import Host
from ..model.plain import Plain, exact
from ..model.spec import LARGEST
from .figures import MIB_PER_GIB, figure_text
from .sizing import Hardware

# Of the memory that is ordered a kernel keeps up to this share, the more of it the smaller the host.
KERNEL_SHARE: Final = Fraction(7, 100)


def read_hardware(host: Host, findings: Findings) -> Hardware | None:
    """Read what a host has: its facts, or what the inventory declares until there are any.

    Args:
        host: Its hardware is none if nothing is known, or a mapping of ``cores`` and ``memory_mib`` (facts),
            ``limits`` (the ``cores`` and ``memory_mib`` of a container, each may be none) and ``declared``
            (the ``cores`` and ``memory_gib`` of ``fleet_hardware``), each of which may be missing or none.
        findings: Receives what is wrong, and where facts and declaration differ.

    Returns:
        The hardware, or none if it is not known or not legal.
    """
    data = host.hardware
    if data is None:
        return None
    values = data if isinstance(data, dict) else {}
    stated = values.get("declared")
    declared = _read_declaration(stated, host.name, findings) if stated is not None else None
    if values.get("cores") is None and values.get("memory_mib") is None and stated is not None:
        return declared
    facts = _figures(values, "cores", "memory_mib")
    if facts is None:
        findings.add(
            "hardware/unreadable",
            "ansible_facts",
            data,
            "cores and memory_mib are not both known as numbers above 0",
            "gather facts from the host (setup) and look at processor_vcpus and memtotal_mb",
            where=host.name,
        )
        return None
    limits = values.get("limits") or {}
    hardware = Hardware(facts[0], facts[1], _limit(limits, "cores"), _limit(limits, "memory_mib"))
    if declared:
        _compare_declaration(hardware, declared, host.name, findings)
    return hardware


def _read_declaration(stated: Plain, host: str, findings: Findings) -> Hardware | None:
    figures = _figures(stated, "cores", "memory_gib")
    if figures and len(stated) == 2:
        return Hardware(figures[0], figures[1] * MIB_PER_GIB, declared=True)
    findings.add(
        "hardware/bad-declaration",
        "fleet_hardware",
        stated,
        "is not a mapping of cores and memory_gib, both numbers above 0",
        "write for example {cores: 16, memory_gib: 32}",
        where=host,
    )
    return None


def _compare_declaration(actual: Hardware, declared: Hardware, host: str, findings: Findings) -> None:
    """Report where a host differs from what the inventory declares; a kernel may keep some of the memory."""
    cores, memory = actual.usable_cores, actual.usable_memory_mib
    least = declared.memory_mib * (1 - KERNEL_SHARE)
    if cores == declared.cores and least <= memory <= declared.memory_mib * (1 + KERNEL_SHARE):
        return
    findings.add(
        "hardware/differs-from-declaration",
        "fleet_hardware",
        f"{figure_text(declared.cores)} cores, {figure_text(declared.memory_mib / MIB_PER_GIB)} GiB",
        f"the host itself shows {figure_text(cores)} cores and {figure_text(memory)} MiB, "
        "and is planned with these",
        "correct the declaration or remove it, or give the host what was ordered",
        where=host,
        severity="warning",
    )


def _figures(data: Plain, *keys: str) -> list[Fraction] | None:
    """Return figures above 0 by their names, or none if one of them is not such a figure."""
    values: list[Plain] = [data.get(key) for key in keys] if isinstance(data, dict) else [None]
    legal = all(isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < LARGEST for n in values)
    return [exact(n) for n in values] if legal else None


def _limit(limits: Plain, key: str) -> Fraction | None:
    figures = _figures(limits, key)
    return figures[0] if figures else None
