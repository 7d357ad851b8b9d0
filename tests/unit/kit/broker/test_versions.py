"""Steps between versions of RabbitMQ: which are taken, and what is said of the others."""

from __future__ import annotations

import pytest
from fleet.broker.versions import ERLANG, REFUSED, STEPS, erlang_fault, fault, refusal, upstream


@pytest.mark.parametrize(
    ("package", "version"),
    [("3.10.8-1.1+deb12u1", "3.10.8"), ("1:4.0.5-8", "4.0.5"), ("4.1.0~rc1-1", "4.1.0"), ("4.0.5", "4.0.5")],
)
def test_package_s_version_is_taken_for_rabbitmq_s(package, version):
    assert upstream(package) == version


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("3.10.8", "3.10.25"),
        ("3.10.8", "3.11.28"),
        ("3.12.1", "3.13.7"),
        ("3.13.7", "4.0.5"),
        ("3.13.7", "4.2.0"),
        ("4.0.5-8", "4.0.5-9"),
        ("4.0.5", "4.2.1"),
        ("4.2.9", "4.3.6"),
        ("4.3.0", "4.3.1"),
    ],
)
def test_supported_step_is_taken(now, then):
    assert refusal(now, then) == ""


def test_skipped_versions_are_named():
    said = refusal("3.10.8-1.1", "4.0.5-8")
    assert said.startswith("From RabbitMQ 3.10.8 to 4.0.5: not supported in one step.")
    assert "3.10 → 3.11 → 3.12 → 3.13 → 4.0," in said


@pytest.mark.parametrize(
    ("now", "then", "why"),
    [
        ("4.0.5", "3.13.7", "later version"),
        ("4.0.5", "4.0.4", "later version"),
        ("4.2.0", "5.0.0", "no way"),
        ("3.7.28", "4.0.5", "no way"),
        ("4", "5", "no versions"),
        ("unknown", "4.0.5", "no versions"),
    ],
)
def test_other_steps_are_refused_with_a_reason(now, then, why):
    said = refusal(now, then)
    assert said.startswith(f"From RabbitMQ {now} to {then}: ")
    assert why in said


def test_the_way_to_4_3_leads_over_4_2():
    assert "Go 4.0 → 4.2 → 4.3," in refusal("4.0.5-8", "4.3.6-1")


@pytest.mark.parametrize("version", sorted(REFUSED))
def test_versions_that_no_fleet_can_run_on_are_refused(version):
    assert "Use the next release of its series." in fault(f"1:{version}-1")
    assert fault(version) in refusal("4.2.5", version)


@pytest.mark.parametrize("version", ["4.2.5", "4.2.7", "4.3.1", "4.3.6-2", "4.0.5"])
def test_their_neighbours_are_taken(version):
    assert fault(version) == ""


def test_every_step_goes_forward_to_a_known_series():
    for old, steps in STEPS.items():
        assert all(old < new and new in STEPS for new in steps)


@pytest.mark.parametrize(
    ("version", "erlang"),
    [
        # What the distributions have.
        ("3.10.8-1.1+deb12u1", "1:25.2.3+dfsg-1"),
        ("3.12.1-1ubuntu1", "1:25.3.2.8+dfsg-1ubuntu4"),
        ("4.0.5-8", "1:27.3.4.1+dfsg-1"),
        ("4.3.6-1", "1:29.1.1+dfsg-1"),
        ("4.2.8-1", "1:26.2.5.13-1"),
        # Not known.
        ("3.9.13-1", "1:24.2.1+dfsg-1ubuntu0"),
        ("4.2.9-1", ""),
    ],
)
def test_versions_that_fit_each_other(version, erlang):
    assert erlang_fault(version, erlang) == ""


@pytest.mark.parametrize(
    ("version", "erlang", "needed"),
    [
        ("3.13.7-1", "1:27.3-1", "needs Erlang 26, and gets 27"),
        ("4.2.9-1", "1:26.2.5-1", "needs Erlang 27, and gets 26"),
        ("4.3.5-1", "1:29.1-1", "needs Erlang 27, and gets 29"),
        ("4.3.6-1", "1:26.2-1", "needs Erlang 27 to 29, and gets 26"),
    ],
)
def test_an_upgrade_to_an_erlang_that_does_not_fit_is_refused(version, erlang, needed):
    assert needed in erlang_fault(version, erlang)
    assert needed in refusal(version, version, erlang)


def test_erlangs_are_in_the_order_of_the_releases():
    assert [entry[0] for entry in ERLANG] == sorted({entry[0] for entry in ERLANG})
