"""Certificates that end soon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..certificates import AUTHORITY, remedy, sentence
from ..findings import Findings


def check(certificates: Iterable[Mapping[str, Any]], kit: bool, findings: Findings) -> None:
    """Find certificates that end soon.

    Args:
        certificates: What ``certificates.ends`` returned.
        kit: Whether the kit makes them; it renews those of servers by itself, so that they refuse no run.
        findings: Receives what ends.
    """
    for each in certificates:
        if each["level"] in (None, "fine"):
            continue
        authority = each["kind"] == AUTHORITY
        findings.add(
            "tls/ending-certificate",
            "fleet_tls_certificates",
            "kit" if kit else "own",
            sentence(each),
            remedy(each, kit),
            where=None if authority else each["name"],
            severity="warning" if kit and not authority else each["level"],
        )
