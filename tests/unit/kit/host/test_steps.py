"""Which instances a host should run, and when a new one may take over."""

import pytest
from fleet.host.names import Name
from fleet.host.probation import Observation, Probation, verdict
from fleet.host.steps import Instance, Step, steps
from fleet.host.systemd import for_systemd

OLD, NEW = ("demo-1", "00000000"), ("demo-2", "11111111")
PROBATION = Probation(start=90, seconds=5, tasks=20, failures=3)


def instance(identity=OLD, number=1, state="active", enabled=True):
    return Instance(Name("cpu", *identity, number), state, enabled)


def step(*present, wanted=NEW, **more):
    (found,) = steps(present, {"cpu": wanted}, **more)
    return found


def test_a_new_release_starts_beside_the_old_one_with_the_next_number():
    old = instance()
    assert step(old) == Step("cpu", Name("cpu", *NEW, 2), True, True, (old,))
    assert step() == Step("cpu", Name("cpu", *NEW, 1), True, True, ())


def test_nothing_happens_to_what_is_wanted():
    assert not step(instance(NEW)).changes
    ending = instance(OLD, 2, "deactivating", enabled=False)
    assert not step(instance(NEW), ending).changes


@pytest.mark.parametrize("number", [1, 2])
def test_a_restart_replaces_even_what_is_wanted(number):
    found = step(instance(NEW, number), restart=True)
    assert found.serve == Name("cpu", *NEW, 3 - number)
    assert found.new


def test_a_run_that_was_cut_off_is_taken_up():
    begun = instance(NEW, 2, "activating", enabled=False)
    found = step(instance(), begun)
    assert (found.serve, found.new, found.start) == (begun.name, True, False)
    written = instance(NEW, 2, "inactive", enabled=False)
    found = step(instance(), written)
    assert (found.serve, found.new, found.start) == (written.name, True, True)
    both = step(instance(NEW, 1), instance(NEW, 2, enabled=False))
    assert (both.serve.number, both.new, [old.name.number for old in both.old]) == (1, False, [2])


def test_one_that_stops_does_not_serve():
    stopping = instance(NEW, 1, "deactivating")
    assert step(stopping).serve == Name("cpu", *NEW, 2)


def test_one_that_was_stopped_by_hand_is_started_again():
    found = step(instance(NEW, 1, "inactive"))
    assert (found.serve.number, found.new, found.start) == (1, False, True)


def test_a_drained_pool_runs_nothing_and_stays_enabled():
    old = instance()
    assert step(old, drained=["cpu"]) == Step("cpu", None, False, False, (old,))
    assert step(instance(state="inactive"), drained=["cpu"]).old == ()


def test_a_pool_that_goes_is_stopped_and_disabled():
    old, ended = instance(), instance(OLD, 2, "inactive")
    assert set(step(old, ended, wanted=None).old) == {old, ended}


def seen(state=None, active=True, **more):
    values = {"failed": False, "restarts": 0, "since_start": 3.0, "since_ready": None} | more
    return Observation(active=active, state=state or {}, **values)


HEALTHY = {"proved": True, "state": "consuming", "slots": 4, "executed": 0, "failed": 0}


@pytest.mark.parametrize(
    ("found", "new", "waits", "expected"),
    [
        (seen(active=False), True, False, None),
        (seen(active=False, since_start=91), True, False, "is not ready after 90 s"),
        (
            seen({"obstacle": "refused"}, active=False, since_start=91),
            True,
            False,
            "is not ready after 90 s (refused)",
        ),
        (
            seen(HEALTHY | {"proved": False}, since_start=91),
            True,
            False,
            "is not ready after 90 s (consuming)",
        ),
        (seen(restarts=1), True, False, "crashed"),
        (seen(failed=True), True, False, "crashed"),
        (seen(restarts=1), False, False, ""),
        (seen(restarts=3), False, False, "crashed 3 times"),
        (seen(HEALTHY), True, False, None),
        (seen(HEALTHY, since_ready=5), True, False, ""),
        (seen(HEALTHY | {"executed": 20}, since_ready=1), True, False, ""),
        (
            seen(HEALTHY | {"executed": 5, "failed": 3}, since_ready=1),
            True,
            False,
            "failed 3 of its first 5 tasks",
        ),
        (seen(HEALTHY | {"executed": 6, "failed": 3}, since_ready=1), True, False, None),
        (seen(HEALTHY | {"executed": 2, "failed": 2}, since_ready=1), True, False, None),
        (seen({"proved": True, "state": "waiting", "slots": 0}, since_ready=6), True, True, ""),
        (
            seen({"proved": True, "state": "waiting", "slots": 0}, since_start=91),
            True,
            False,
            "is not ready after 90 s (waiting)",
        ),
    ],
)
def test_a_new_instance_must_prove_itself(found, new, waits, expected):
    assert verdict(found, PROBATION, waits, new) == expected


def test_an_old_systemd_gets_no_key_that_it_does_not_know():
    text = "RestartSec=2\nRestartSteps=5\nRestartMaxDelaySec=60\n"
    assert for_systemd(text, 252) == "RestartSec=2\n"
    assert for_systemd(text, 257) == text
