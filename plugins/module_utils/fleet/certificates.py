"""When certificates end, and from when somebody must be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

# The part of the days before its end in which a renewal has plainly not happened is the last one of so many.
LATE: Final = 4

# Of what a certificate is: a server on a host, or an authority.
BROKER: Final = "broker"
RESULTS: Final = "results"
AUTHORITY: Final = "authority"


def level(days: int, renew_before_days: int) -> str:
    """Return how urgent it is: ``fine``, ``warning``, or ``error``.

    Args:
        days: Whole days that are left, negative when it has ended.
        renew_before_days: Days before its end from which a run renews a certificate.
    """
    if days < renew_before_days // LATE:
        return "error"
    return "warning" if days < renew_before_days else "fine"


def read(text: str) -> list[tuple[str, datetime]]:
    """Return the subject and the end of each certificate in a text.

    Args:
        text: Certificates as PEM, with anything around them.

    Raises:
        ValueError: If one cannot be read.
    """
    if "BEGIN CERTIFICATE" not in text:
        return []
    # Beside Ansible itself, which needs it for its vault; on the controller only.
    from cryptography import x509

    loaded = x509.load_pem_x509_certificates(text.encode())
    return [(each.subject.rfc4514_string(), each.not_valid_after_utc) for each in loaded]


def ends(
    servers: Iterable[Mapping[str, Any]],
    authorities: str,
    renew_before_days: int,
    now: datetime | None = None,
) -> list[dict[str, Any]]:
    """Say of each certificate when it ends.

    Args:
        servers: Of each server its ``kind``, its host's ``name``, and its ``pem``: its certificate, with
            others behind it; or the ``error`` that nobody could read one.
        authorities: Certificates of all authorities that the fleet trusts, as PEM.
        renew_before_days: Days before its end from which a run renews a certificate.
        now: The time; by default the present.

    Returns:
        Of each its ``kind``, ``name`` (host, or the authority's subject), ``not_after``, whole ``days`` that
        are left, ``level``, and ``error``. A server that shows no certificate has only the last of these.
    """
    moment = now or datetime.now(UTC)

    def row(kind: str, name: str, end: datetime | None, error: str = "") -> dict[str, Any]:
        days = (end - moment).days if end else None
        return {
            "kind": kind,
            "name": name,
            "not_after": end.isoformat() if end else None,
            "days": days,
            "level": None if days is None else level(days, renew_before_days),
            "error": error,
        }

    rows = []
    for each in servers:
        # Intermediate ones may end before the server's own.
        chain = [end for _, end in read(str(each.get("pem") or ""))]
        error = str(each.get("error") or ("" if chain else "it shows no certificate"))
        rows.append(row(each["kind"], each["name"], min(chain, default=None), error))
    return rows + [row(AUTHORITY, subject, end) for subject, end in read(authorities)]


def sentence(certificate: Mapping[str, Any]) -> str:
    """Say when a certificate ends.

    Args:
        certificate: A row of ``ends`` that has an end.
    """
    day, days = str(certificate["not_after"])[:10], certificate["days"]
    left = f"ended on {day}" if days < 0 else f"ends in {days} days, on {day}"
    if certificate["kind"] == AUTHORITY:
        return f"the authority {certificate['name']} {left}"
    what = "broker" if certificate["kind"] == BROKER else "server of results"
    return f"{certificate['name']}: the certificate of its {what} {left}"


def remedy(certificate: Mapping[str, Any], kit: bool) -> str:
    """Say what helps against a certificate's end.

    Args:
        certificate: A row of ``ends``.
        kit: Whether the kit made it; otherwise it is the site's own.
    """
    verb = "playbooks/rotate_certificates.yml"
    if certificate["kind"] == AUTHORITY:
        return (
            f"run {verb} -e rotate_ca=true"
            if kit
            else f"put its successor beside it in fleet_tls_ca and run {verb}"
        )
    return f"run {verb}" if kit else f"replace its file (fleet_tls_certificate) and run {verb}"
