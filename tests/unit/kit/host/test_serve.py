"""A run over a host, without processes: the new instance takes over, or the old one serves on."""

import pytest
from fleet.host.names import NUMBER, Name, slice_of
from fleet.host.probation import Probation
from fleet.host.records import Worker, installed, keep, kept
from fleet.host.rollover import RolloverError
from fleet.host.serve import RecordError, recorded, serve
from fleet.host.systemd import SystemdError
from support.fake_systemd import FakeSystemd

PROBATION = Probation(start=90, seconds=5, tasks=20, failures=3)
OLD, NEW = "demo-1", "demo-2"


def worker(release=NEW, digest="11111111", rollover="overlap"):
    unit = (
        f"[Service]\nEnvironment=CELERY_FLEET_POOL=cpu\nExecStart=celery --hostname cpu_worker_{NUMBER}@h\n"
    )
    return Worker(release, digest, rollover, unit, {"concurrency": 4})


def unit(release=NEW, digest="11111111", number=1):
    return Name("cpu", release, digest, number).unit


@pytest.fixture
def fake(tmp_path):
    return FakeSystemd(tmp_path)


def run(fake, wanted=None, slices=None, **more):
    return serve(fake.host, {"cpu": worker()} if wanted is None else wanted, slices or {}, PROBATION, **more)


def states(fake):
    """What runs and what would run after a boot, by unit."""
    return fake.states, fake.enabled()


def test_the_first_deploy_of_a_host(fake):
    found = run(fake, slices={"cpu": "[Slice]\nMemoryMax=1M\n"})
    assert states(fake) == ({unit(): "active"}, {unit()})
    assert "cpu_worker_1@h" in (fake.host.units / unit()).read_text()
    assert (fake.host.units / slice_of("cpu")).read_text() == "[Slice]\nMemoryMax=1M\n"
    assert found["pools"]["cpu"] == {"was": "", "is": NEW, "unit": unit(), "done": "started", "finish": []}
    assert fake.host.served() == {"cpu": {"release": NEW, "previous": ""}}
    assert kept(fake.host, NEW, "cpu") == worker()
    assert installed(fake.host) == {"cpu": {"figures": {"concurrency": 4}, "releases": [NEW]}}


def test_nothing_changes_the_second_time(fake):
    run(fake)
    fake.log.clear()
    before = {path: path.stat().st_mtime_ns for path in fake.host.config.rglob("*")}
    assert not run(fake)["differs"]
    assert fake.log == []
    assert {path: path.stat().st_mtime_ns for path in fake.host.config.rglob("*")} == before


def test_checking_changes_nothing(fake):
    old = fake.serves("cpu", OLD)
    found = run(fake, slices={"cpu": "[Slice]\n"}, check=True)
    assert found["differs"] and [each["after_header"] for each in found["diff"]][1:] == ["cpu"]
    assert fake.log == [] and states(fake) == ({old: "active"}, {old})
    assert not (fake.host.units / slice_of("cpu")).exists()


def test_the_old_one_takes_no_more_tasks_only_when_the_new_one_has_proved_itself(fake):
    old = fake.serves("cpu", OLD)
    fake.lasting = {"cpu"}
    found = run(fake)
    new = unit(number=2)
    assert states(fake) == ({old: "deactivating", new: "active"}, {new})
    assert fake.log.index(f"start {new}") < fake.log.index(f"enable {new}") < fake.log.index(f"stop {old}")
    assert found["pools"]["cpu"]["finish"] == [old]
    # It is removed with the next run that finds it ended, or by the program of its end.
    fake.ends(old)
    assert run(fake)["differs"]
    assert not (fake.host.units / old).exists()


def test_room_is_made_where_two_would_not_fit(fake):
    old = fake.serves("cpu", OLD)
    paused = []
    fake.begins = lambda name: (
        paused.append((fake.host.orders(old) / "paused").exists()),
        fake.says(name, state="waiting", slots=0),
    )
    run(fake, {"cpu": worker(rollover="wait")})
    assert paused == [True]
    assert fake.enabled() == {unit(number=2)}


FAILURES = {
    "crash loop": (lambda fake, name: fake.restarts.update({name: 1}), "crashed"),
    "failed": (lambda fake, name: fake.states.update({name: "failed"}), "crashed"),
    "never ready": (
        lambda fake, name: fake.says(name, proved=False, obstacle="refused"),
        r"not ready after 90 s \(refused\)",
    ),
    "failing tasks": (
        lambda fake, name: fake.says(name, executed=5, failed=3),
        "failed 3 of its first 5 tasks",
    ),
}


@pytest.mark.parametrize("rollover", ["overlap", "wait"])
@pytest.mark.parametrize("how", FAILURES)
def test_one_that_fails_leaves_the_old_one_serving(fake, how, rollover):
    old = fake.serves("cpu", OLD)
    other = fake.serves("io", OLD)
    keep(fake.host, "cpu", worker(OLD, "00000000"))
    fake.host.serve({"cpu": {"release": OLD, "previous": ""}})
    fails, said = FAILURES[how]
    fake.begins = lambda name: fails(fake, name) if "cpu" in name else fake.proves(name)
    with pytest.raises(RolloverError, match=said) as caught:
        run(fake, {"cpu": worker(rollover=rollover), "io": worker()})
    assert "the end of a journal" in str(caught.value)
    assert states(fake) == ({old: "active", other: "active"}, {old, other})
    assert {path.name for path in fake.host.files()} == {old, other}
    assert not (fake.host.orders(old) / "paused").exists()
    assert fake.host.served() == {"cpu": {"release": OLD, "previous": ""}}


def test_one_that_failed_before_is_not_judged_by_that(fake):
    """systemd shows the failure as long as the start of the unit waits for its turn."""
    run(fake)
    fake.states[unit()] = "failed"
    fake.begins = lambda _name: None
    fake.host.sleep = lambda seconds: (fake.sleep(seconds), fake.proves(unit()))
    run(fake)
    assert states(fake) == ({unit(): "active"}, {unit()})


def test_one_that_fails_and_still_runs_a_task_finishes_it(fake):
    old = fake.serves("cpu", OLD)
    fake.lasting = {"cpu"}
    fake.begins = lambda name: fake.says(name, executed=4, failed=4)
    with pytest.raises(RolloverError):
        run(fake)
    assert states(fake) == ({old: "active", unit(number=2): "deactivating"}, {old})
    assert (fake.host.units / unit(number=2)).exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ZeroDivisionError, SystemdError])
@pytest.mark.parametrize("at", ["verify", "start", "show"])
def test_whatever_goes_wrong_is_undone(fake, at, error):
    old = fake.serves("cpu", OLD)
    already = []

    def breaks(line):
        # Once: what is undone needs systemd, too. Units are shown before the run, to choose what to do.
        if f" {at} " in line and (at != "show" or unit(number=2) in line) and not already:
            already.append(line)
            raise error("broken")
        return False

    fake.refuses = breaks
    with pytest.raises(error):
        run(fake, {"cpu": worker(rollover="wait")})
    assert states(fake) == ({old: "active"}, {old})
    assert {path.name for path in fake.host.files()} == {old}
    assert not (fake.host.orders(old) / "paused").exists()


class KilledError(BaseException):
    """The end of a process, which undoes nothing."""


def killed(fake, monkeypatch, at):
    """Run a rollover that is killed at the first command of which `at` is true: nothing is undone."""

    def refuses(line):
        if at(line):
            raise KilledError
        return False

    with monkeypatch.context() as dead:
        dead.setattr("fleet.host.rollover.Rollover._undo", lambda *_: None)
        fake.refuses = refuses
        with pytest.raises(KilledError):
            run(fake, {"cpu": worker(rollover="wait")})
    fake.refuses = lambda _line: False


@pytest.mark.parametrize(
    "at", ["start", "show", "enable", "disable", f"stop --no-block {unit(OLD, '00000000')}"]
)
def test_a_run_that_is_killed_on_the_way_is_taken_up_by_the_next(fake, at, monkeypatch):
    old = fake.serves("cpu", OLD)

    killed(fake, monkeypatch, lambda line: f" {at}" in line and (at != "show" or unit(number=2) in line))
    run(fake, {"cpu": worker(rollover="wait")})
    assert states(fake) == ({unit(number=2): "active"}, {unit(number=2)})
    assert {path.name for path in fake.host.files()} == {unit(number=2)}
    assert fake.host.served()["cpu"]["release"] == NEW
    assert not (fake.host.orders(unit(number=2)) / "paused").exists()
    assert old not in fake.states


def test_after_a_kill_the_old_release_can_serve_again(fake, monkeypatch):
    run(fake, {"cpu": worker(OLD, "00000000")})
    old = unit(OLD, "00000000")

    killed(fake, monkeypatch, lambda line: " start " in line)
    assert (fake.host.orders(old) / "paused").exists()
    run(fake, {"cpu": worker(OLD, "00000000")})
    assert states(fake) == ({old: "active"}, {old})
    assert not (fake.host.orders(old) / "paused").exists()


def test_a_drained_pool_runs_nothing_and_knows_what_it_would(fake):
    old = fake.serves("cpu", OLD)
    (fake.host.config / "drained").mkdir()
    (fake.host.config / "drained" / "cpu").touch()
    assert run(fake)["pools"]["cpu"]["done"] == "drained"
    assert states(fake) == ({}, {old})
    (fake.host.config / "drained" / "cpu").unlink()
    run(fake, recorded(fake.host, "release"))
    assert states(fake) == ({unit(number=2): "active"}, {unit(number=2)})


def test_a_pool_that_goes_leaves_nothing(fake):
    run(fake, slices={"cpu": "[Slice]\n"})
    assert run(fake, {"cpu": None})["pools"]["cpu"]["done"] == "gone"
    assert states(fake) == ({}, set())
    assert list(fake.host.units.glob("celery-fleet-*")) == []
    assert fake.host.served() == {}


def test_a_rollback_and_a_restart_go_by_the_records(fake):
    with pytest.raises(RecordError, match="deploy first"):
        fake.host.serve({"cpu": {"release": OLD, "previous": ""}})
        recorded(fake.host, "release")
    run(fake, {"cpu": worker(OLD, "00000000")})
    run(fake)
    assert recorded(fake.host, "release", ["cpu"]) == {"cpu": worker()}
    assert recorded(fake.host, "release", ["io"]) == {}
    run(fake, recorded(fake.host, "previous"))
    assert fake.host.served() == {"cpu": {"release": OLD, "previous": NEW}}
    run(fake, recorded(fake.host, "release"), restart=True)
    assert fake.enabled() == {unit(OLD, "00000000", 2)}


EARLIER = """\
[Service]
Environment=CELERY_FLEET_POOL=cpu
Environment=CELERY_FLEET_INSTANCE=demo-1_00000000_@n@
Environment=CELERY_FLEET_ROLLOVER=wait
"""


def test_a_record_of_an_earlier_kit_serves_until_it_is_replaced(fake):
    old = fake.serves("cpu", OLD)
    (fake.host.config / "units" / OLD).mkdir(parents=True)
    (fake.host.config / "units" / OLD / "cpu.service").write_text(EARLIER)
    fake.host.serve({"cpu": {"release": OLD, "previous": ""}})
    assert recorded(fake.host, "release") == {"cpu": Worker(OLD, "00000000", "wait", EARLIER)}
    assert installed(fake.host) == {"cpu": {"figures": None, "releases": [OLD]}}
    # What serves is left alone, by its identity; then the next release takes over as from any other.
    assert run(fake, recorded(fake.host, "release"))["pools"]["cpu"]["unit"] == old
    run(fake)
    assert fake.enabled() == {unit(number=2)}
    assert recorded(fake.host, "previous") == {"cpu": Worker(OLD, "00000000", "wait", EARLIER)}


def test_a_record_that_says_nothing_is_refused(fake):
    keep(fake.host, "cpu", worker())
    (fake.host.config / "units" / NEW / "cpu.json").unlink()
    with pytest.raises(ValueError, match="deploy this host again"):
        kept(fake.host, NEW, "cpu")
