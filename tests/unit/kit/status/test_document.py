"""How a fleet is: from what hosts and the broker told to warnings and one screen."""

import copy

import pytest
from fleet.broker import queues
from fleet.host import status as host_status
from fleet.host.names import BEAT
from fleet.host.status import PROPERTIES
from fleet.status import document as status_document
from fleet.status.document import STALE_S
from fleet.status.screen import rollover_lines, text

NOW, UP = 1_000_000.0, 5_000.0
UNIT = {
    "Id": "celery-fleet-io@r2_0a1b2c3d_1.service",
    "ActiveState": "active",
    "SubState": "running",
    "NRestarts": "0",
    "MainPID": "42",
    "MemoryCurrent": "[not set]",
    "ActiveEnterTimestampMonotonic": "1000000000",
    "StatusText": "",
    "ControlGroup": "",
}
STATE = {
    "pool": "io",
    "release": "r2",
    "pid": 42,
    "state": "consuming",
    "obstacle": "",
    "slots": 50,
    "active": [{"id": "1", "name": "shop.fetch", "queue": "io_q", "started": NOW - 200, "time_limit": 300}],
    "reserved": 3,
    "hung": 0,
    "executed": 7,
    "failed": 0,
    "last_task": NOW - 4,
    "restarts_lost_consumer": 0,
    "queues": {"io_q": {"waits": [0] * 8 + [100] + [0] * 7, "newest": NOW - 150}},
    "updated": NOW - 2,
}
QUEUE = {
    "name": "io_q",
    "messages_ready": 5,
    "messages_unacknowledged": 1,
    "consumers": 1,
    "message_stats": {"publish_details": {"rate": 2.04}, "ack_details": {"rate": 1.5}},
}
TICK = {
    "pid": 9,
    "role": "active",
    "entries": 2,
    "last_tick": {"name": "tidy", "at": NOW - 30},
    "updated": NOW,
}


def _instance(unit=None, state=STATE):
    return host_status.instance(
        {**UNIT, **(unit or {})}, state and {**STATE, **state}, 300 * host_status.MIB, NOW, UP
    )


def _beat(**state):
    unit = {**UNIT, "Id": BEAT, "MainPID": "9"}
    return host_status.beat(unit, {"source": "2 of fleet_schedule", **TICK, **state}, NOW, UP)


def _told():
    return {
        "hosts": {"h1": {"instances": [_instance()], "drained": {}, "beat": _beat()}},
        "expected": {"h1": ["io"]},
        "broker": {"queues": [queues.queue(QUEUE, NOW)], "obstacles": [], "errors": []},
        "pools": {"io": ["io_q"]},
        "dead": ["io_dead"],
        "schedulers": ["h1"],
    }


def test_a_fleet_that_is_well_says_so_and_shows_all_figures():
    document = status_document.document(**_told())
    assert document["fine"] and document["warnings"] == []
    shown = [line.split() for line in text(document).splitlines()]
    assert shown[0] == ["All", "is", "well."]
    assert ["h1", "io", "r2", "consuming", "1/3/50", "300", "MiB", "0", "4", "s"] in shown
    assert ["io_q", "io", "5", "1", "1", "2.0", "1.5", "58", "s", "≤", "2", "min"] in shown
    assert ["h1", "active", "-", "2", "tidy,", "30", "s", "ago", "0", "2", "of", "fleet_schedule"] in shown


def test_what_the_kernel_killed_is_told_with_its_tasks_and_the_field_and_is_no_warning():
    told = _told()
    told["hosts"]["h1"] |= {
        "oom_kills": {"io": 21, "cpu": 0, "general": None},
        "instances": [_instance(state={"lost": {"shop.small": 1, "shop.big": 20}})],
    }
    document = status_document.document(**told)
    assert document["fine"]
    (note,) = document["notes"]
    assert "h1: pool io used up its memory, and the kernel killed 21 of its processes" in note
    assert "shop.big (20), shop.small (1)" in note
    assert "demand.memory_mib" in note
    assert f"* {note}" in text(document).splitlines()
    assert status_document.document(**_told())["notes"] == []


def _put(path, value):
    def change(told):
        *above, last = path
        for key in above:
            told = told[key]
        told[last] = value

    return change


ROW = ("hosts", "h1", "instances")
CASES = {
    "a dead host": (
        _put(("hosts", "h1"), {"unreachable": True, "msg": "no\nroute"}),
        "h1: cannot be reached: no route",
    ),
    "a pool that does not run": (_put(ROW, []), "h1: pool io does not run"),
    "a pool of nobody's": (_put(("expected", "h1"), []), "h1: pool io runs, but the model"),
    "a failed unit": (
        _put(ROW, [_instance({"ActiveState": "failed", "SubState": "failed"})]),
        "is failed (failed); see journalctl",
    ),
    "a crash loop": (
        _put(ROW, [_instance({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "4"})]),
        "crashes in a loop, 4 times",
    ),
    "a worker without a broker": (
        _put(ROW, [_instance(state={"state": "waiting", "obstacle": "refused"})]),
        "does not consume: refused",
    ),
    "a worker that is silent": (
        _put(ROW, [_instance(state={"updated": NOW - STALE_S - 1})]),
        "nothing for 31 s",
    ),
    "a pause that nobody noted": (_put(ROW, [_instance(state={"state": "paused"})]), "is paused"),
    "two that consume": (_put(ROW, [_instance(), _instance()]), "runs 2 times"),
    "a queue without consumers": (
        _put(("broker", "queues"), [queues.queue({**QUEUE, "consumers": 0}, NOW)]),
        "io_q: nobody of pool io consumes, 5 tasks wait",
    ),
    "a queue that is gone": (_put(("broker", "queues"), []), "io_q: the broker has no such queue"),
    "no broker": (_put(("broker",), {"queues": None, "errors": ["b1: down"]}), "No broker node answered"),
    "an alarm": (_put(("broker", "obstacles"), ["Node a is down."]), "Node a is down."),
    "dead letters without room": (
        _put(("broker", "queues"), [queues.queue({**QUEUE, "messages": 107}, NOW)]),
        "io_q: 101 dead letters stay in it, because their own queue is full or gone",
    ),
    "dead letters": (
        _put(
            ("broker", "queues"),
            [queues.queue(QUEUE, NOW), queues.queue({"name": "io_dead", "messages_ready": 2}, NOW)],
        ),
        "io_dead: 2 dead letters",
    ),
    "a queue of nobody's": (
        _put(
            ("broker", "queues"),
            [
                *(
                    queues.queue({"name": name, "messages": 3}, NOW)
                    for name in ("fleet_beat", "celery_delayed_3")
                ),
                queues.queue({"name": "a.celery.pidbox", "messages": 3}, NOW),
                queues.queue({"name": "reply", "messages": 3, "exclusive": True}, NOW),
                queues.queue({"name": "spare", "messages": 0}, NOW),
                queues.queue({**QUEUE, "name": "io_q2", "head_message_timestamp": NOW - 7200}, NOW),
                queues.queue(QUEUE, NOW),
            ],
        ),
        "io_q2: the model has no such queue, and it holds 6 messages (1 unacknowledged), the oldest of 2 h: "
        "ansible-playbook playbooks/migrate_queue.yml -e migrate_from=io_q2 -e migrate_to=io_q",
    ),
    "dead letters of nobody's": (
        _put(
            ("broker", "queues"),
            [queues.queue(QUEUE, NOW), queues.queue({"name": "old tasks_dead", "messages": 300}, NOW)],
        ),
        "old tasks_dead: the model has no such dead-letter queue, and it holds 300 messages: "
        "ansible-playbook playbooks/dead_letters.yml -e dead_letters_queues='old tasks_dead' lists them, "
        "with -e dead_letters_action=send_back -e dead_letters_to=QUEUE",
    ),
    "a migration that was cut short": (
        _put(
            ("broker", "queues"),
            [
                queues.queue(QUEUE, NOW),
                queues.queue({"name": "celery_fleet_migration.io_q", "messages": 1}, NOW),
            ],
        ),
        "celery_fleet_migration.io_q: an interrupted migration left 1 message",
    ),
    "a pool that nobody runs": (
        _put(("unused",), {"spare": ["io_q"]}),
        "io_q: no host runs pool spare, and it holds 6 messages",
    ),
    "no scheduler": (_put(("hosts", "h1", "beat"), None), "h1: no scheduler runs here"),
    "only a standby": (_put(("hosts", "h1", "beat"), _beat(role="standby")), "No scheduler is active"),
    "a scheduler that waits": (
        _put(("hosts", "h1", "beat"), _beat(role="waiting", obstacle="refused")),
        "the scheduler is waiting: refused",
    ),
    "a run in the future": (
        _put(("hosts", "h1", "beat"), _beat(ahead=["tidy", "weekly"])),
        "h1: the last run of tidy, weekly lay in the future",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_first(case):
    change, expected = CASES[case]
    told = copy.deepcopy(_told())
    change(told)
    document = status_document.document(**told)
    assert not document["fine"]
    assert any(expected in warning for warning in document["warnings"]), document["warnings"]
    assert text(document).startswith("! ")


def test_only_queues_that_somebody_misses_are_told_of():
    told = copy.deepcopy(_told())
    CASES["a queue of nobody's"][0](told)
    document = status_document.document(**told)
    assert [each["name"] for each in document["stranded"]] == ["io_q2"]
    assert len(document["warnings"]) == 1
    assert ["io_q2", "(none)", "5", "1", "1", "-", "-", "-", "2", "h"] in map(
        str.split, text(document).splitlines()
    )


def test_a_drained_pool_is_shown_with_its_reason_and_is_no_fault():
    told = _told()
    told["hosts"]["h1"] |= {"drained": {"io": "disk change"}}
    for instances in ([], [_instance(state={"state": "paused"})]):
        told["hosts"]["h1"]["instances"] = instances
        document = status_document.document(**told)
        assert document["fine"], document["warnings"]
        assert "drained: disk change" in text(document)
    assert "still runs shop.fetch since 3 min" in text(document)


def test_threads_that_hang_are_a_note():
    told = _told()
    told["hosts"]["h1"]["instances"] = [_instance(state={"hung": 3})]
    document = status_document.document(**told)
    assert document["fine"], document["warnings"]
    assert "3 threads hang" in text(document)


def test_of_a_process_that_is_gone_only_systemd_tells():
    found = _instance({"MainPID": "43"})
    assert (found["state"], found["slots"], found["release"]) == ("running", None, "r2_0a1b2c3d_1")


def test_units_are_read_from_what_systemctl_shows():
    shown = "\n\n".join(
        "\n".join(f"{name}={value}" for name, value in each.items())
        for each in (UNIT, {**UNIT, "Id": BEAT, "StatusText": "a=b"})
    )
    assert set(UNIT) == set(PROPERTIES)
    assert host_status.read_units(shown) == [UNIT, {**UNIT, "Id": BEAT, "StatusText": "a=b"}]
    assert host_status.read_units("") == []


def test_a_rollover_waits_for_instances_that_do_not_consume():
    stopping = _instance(
        {"ActiveState": "deactivating", "Id": "celery-fleet-io@r1_0a1b2c3d_1.service"},
        {"release": "r1", "state": "stopping"},
    )
    starting = _instance(
        {"ActiveState": "activating"}, {"state": "waiting", "obstacle": "no broker", "active": []}
    )
    assert rollover_lines([_instance(), stopping, starting]) == [
        "celery-fleet-io@r1_0a1b2c3d_1.service (release r1): stopping, 1 task left, "
        "the oldest (shop.fetch) runs for 3 min of at most 5 min",
        "celery-fleet-io@r2_0a1b2c3d_1.service (release r2): waiting, no broker",
    ]
