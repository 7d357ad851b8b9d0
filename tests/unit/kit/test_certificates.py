"""When certificates end: how many days are left, how urgent that is, and what helps."""

from datetime import UTC, datetime, timedelta

import pytest
from fleet.certificates import ends, level, read, remedy, sentence
from fleet.findings import Findings
from fleet.preflight.certificates import check
from support.authority import Authority

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def made(days, name="an authority"):
    """Return the certificate of an authority that ends in so many days, as PEM."""
    return Authority(name, ends=NOW + timedelta(days=days, hours=1)).pem.decode()


@pytest.mark.parametrize(
    ("days", "expected"),
    [(365, "fine"), (30, "fine"), (29, "warning"), (7, "warning"), (6, "error"), (-1, "error")],
)
def test_a_warning_comes_when_a_run_renews_and_an_error_when_none_has(days, expected):
    (row,) = ends([], made(days), 30, NOW)
    assert (row["days"], row["level"]) == (days, expected)
    assert level(days, 30) == expected


def test_a_site_that_renews_earlier_is_told_earlier():
    assert [level(days, 60) for days in (60, 59, 15, 14)] == ["fine", "warning", "warning", "error"]


def test_of_a_chain_the_first_end_counts():
    servers = [{"kind": "broker", "name": "b1", "pem": "a comment\n" + made(100) + made(20)}]
    (row,) = ends(servers, "", 30, NOW)
    assert (row["kind"], row["name"], row["days"], row["level"]) == ("broker", "b1", 20, "warning")
    assert row["not_after"] == (NOW + timedelta(days=20, hours=1)).isoformat()


def test_a_server_that_shows_none_says_why():
    servers = [
        {"kind": "broker", "name": "b1", "error": "refused"},
        {"kind": "results", "name": "r", "pem": ""},
    ]
    rows = ends(servers, "", 30, NOW)
    assert [(row["level"], row["days"], row["error"]) for row in rows] == [
        (None, None, "refused"),
        (None, None, "it shows no certificate"),
    ]


def test_what_is_no_certificate_is_refused():
    assert read("") == []
    with pytest.raises(ValueError):
        read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_a_sentence_names_who_and_when_and_the_remedy_what_to_run():
    broker, authority = ends([{"kind": "broker", "name": "b1", "pem": made(-2)}], made(20, "old"), 30, NOW)
    assert sentence(broker) == "b1: the certificate of its broker ended on 2026-11-28"
    assert sentence(authority) == "the authority CN=old ends in 20 days, on 2026-12-20"
    assert remedy(broker, True) == "run playbooks/rotate_certificates.yml"
    assert remedy(authority, True).endswith("-e rotate_ca=true")
    assert "fleet_tls_certificate" in remedy(broker, False)
    assert "fleet_tls_ca" in remedy(authority, False)


@pytest.mark.parametrize(
    ("kit", "server", "authority"), [(True, "warning", "error"), (False, "error", "error")]
)
def test_preflight_refuses_what_the_run_itself_does_not_renew(kit, server, authority):
    findings = Findings()
    rows = ends([{"kind": "broker", "name": "b1", "pem": made(3)}], made(3), 30, NOW)
    check([*rows, *ends([], made(300), 30, NOW)], kit, findings)
    assert [(each.id, each.severity) for each in findings] == [
        ("tls/ending-certificate", server),
        ("tls/ending-certificate", authority),
    ]
    assert next(iter(findings)).where == "b1"


def test_a_site_accepts_an_end_by_its_name():
    findings = Findings({"tls/ending-certificate": "replaced on Sunday"})
    check(ends([], made(3), 30, NOW), True, findings)
    assert findings.errors == []
