"""The role operate on a control host whose commands answer what a test wants."""

import json

import pytest
import yaml
from support.ansible_runs import Inventory

LETTERS = {
    "queues": {"cpu_tasks_dead": {"total": 2, "selected": 2}},
    "selected": 2,
    "done": 2,
    "summary": [
        {
            "task": "shop.train", "reason": "rejected", "queue": "cpu_ml_training", "count": 2,
            "sent_back": 0, "oldest": 60, "unroutable": 0,
        }
    ],
    "letters": [],
}  # fmt: skip
# As whom the commands run: it writes that down, and runs what comes behind its options.
SETPRIV = """#!/bin/sh
echo "setpriv $*" >> {log}
while [ "${{1#--}}" != "$1" ]; do shift; done
exec "$@"
"""
AS_OPERATOR = (
    "setpriv --reuid=celery-fleet-operator --regid=celery-fleet-operator --init-groups "
    "--no-new-privs --reset-env "
)
# Answers, and writes down with which arguments it was called.
COMMAND = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
cat {answer}
"""


def setpriv(directory):
    """Write a command that stands for ``setpriv``, whose user a test's machine does not have."""
    command = directory / "setpriv"
    command.write_text(SETPRIV.format(log=directory / "log"))
    command.chmod(0o755)
    return directory


@pytest.fixture
def control(tmp_path):
    """A run of dead_letters.yml's role with stub commands."""
    site = Inventory(tmp_path)
    site.write("group_vars/all.yml", {"ansible_connection": "local", "ansible_become": False})
    for name, answer in {"python": LETTERS, "rabbitmqctl": []}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(answer))
        command = tmp_path / name
        command.write_text(COMMAND.format(log=tmp_path / "log", answer=tmp_path / f"{name}.json"))
        command.chmod(0o755)
    play = {
        "hosts": "cpu1",
        "gather_facts": False,
        "environment": {"PATH": f"{setpriv(tmp_path)}:/usr/bin:/bin"},
        "vars": {"operate_python": str(tmp_path / "python"), "operate_broker": "cpu1"},
        "tasks": [{"ansible.builtin.include_role": {"name": "operate", "tasks_from": "dead_letters"}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))

    def run(*options, **given):
        result = site.run(*options, "-e", json.dumps(given))
        log = tmp_path / "log"
        calls = log.read_text().splitlines() if log.exists() else []
        started = [line for line in calls if line.startswith("setpriv")]
        commands = [line for line in calls if line.startswith("python")]
        assert started == [
            line.replace("python ", f"{AS_OPERATOR}{tmp_path}/python ", 1) for line in commands
        ]
        return result, commands

    return run


def test_dead_letters_are_listed_and_nothing_else_is_done(control):
    run, calls = control()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "shop.train" in run.stdout
    assert calls == ["python -P -m celery_fleet dead-letters list --details 20"]


@pytest.mark.parametrize("given", [{"dead_letters_action": "drop"}, {"dead_letters_action": "delete"}])
def test_an_unknown_action_and_one_without_a_selection_are_rejected(control, given):
    run, calls = control(**given)
    assert run.returncode != 0
    assert "Set dead_letters_action" in run.stdout
    assert calls == []


def test_a_selection_is_deleted_after_confirmation_and_check_mode_lists_it(control):
    given = {"dead_letters_action": "delete", "dead_letters_tasks": "shop.*", "dead_letters_confirm": True}
    run, calls = control("--check", **given)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [call.split()[5] for call in calls] == ["list"]
    run, calls = control(**given)
    assert run.returncode == 0, run.stdout + run.stderr
    assert calls[-1] == "python -P -m celery_fleet dead-letters delete --yes --task=shop.*"
    assert "2 dead letters deleted" in run.stdout


def test_nothing_is_sent_back_through_a_queue_without_its_policy(control):
    run, calls = control(dead_letters_action="send_back", dead_letters_all="true")
    assert run.returncode != 0
    assert "run playbooks/broker.yml first" in " ".join(run.stdout.split())
    assert [call.split()[5] for call in calls] == ["list"]


def test_a_queue_without_an_answer_fails_verify_and_check_mode_sends_nothing(tmp_path):
    site = Inventory(tmp_path)
    site.write("group_vars/all.yml", {"ansible_connection": "local", "ansible_become": False})
    command = tmp_path / "python"
    (tmp_path / "answer").write_text(
        json.dumps({"answers": [], "missing": ["io_api_calls"], "dead_letters": {}})
    )
    command.write_text(COMMAND.format(log=tmp_path / "log", answer=tmp_path / "answer"))
    command.chmod(0o755)
    play = {
        "hosts": "cpu1",
        "gather_facts": False,
        "environment": {"PATH": f"{setpriv(tmp_path)}:/usr/bin:/bin"},
        "vars": {"operate_python": str(command), "operate_plans": []},
        "tasks": [{"ansible.builtin.include_role": {"name": "operate", "tasks_from": "verify"}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    assert site.run("--check").returncode == 0
    assert not (tmp_path / "log").exists()
    run = site.run("-e", "verify_timeout=7")
    assert run.returncode != 0
    assert "io_api_calls: no answer" in run.stdout
    arguments = "-P -m celery_fleet verify --timeout 7"
    assert (tmp_path / "log").read_text() == f"{AS_OPERATOR}{command} {arguments}\npython {arguments}\n"


MOVE = """#!/usr/bin/python3
import json, pathlib, sys
log = pathlib.Path({log!r})
runs = len(log.read_text().splitlines()) if log.exists() else 0
given = json.loads(sys.stdin.read())
with log.open("a") as file:
    file.write(json.dumps([sys.argv[1:], given]) + "\\n")
done = runs == 2
counts = {{"before": {{"celery": 9 - runs}}, "after": {{"celery": 8 - runs}}}}
moved = {{}} if done else {{"io_api_calls": 4}}
about = {{"notes": ["mail: a message stays"], "done": done, "waits": False}}
print(json.dumps({{**counts, **about, "moved": moved}}))
"""


def test_a_move_goes_on_until_all_is_moved_and_shows_no_secret(tmp_path):
    site = Inventory(tmp_path)
    site.write("group_vars/all.yml", {"ansible_connection": "local", "ansible_become": False})
    command, log = tmp_path / "python", tmp_path / "moves"
    command.write_text(MOVE.format(log=str(log)))
    command.chmod(0o755)
    play = {
        "hosts": "cpu1",
        "gather_facts": False,
        "environment": {"PATH": f"{setpriv(tmp_path)}:/usr/bin:/bin"},
        "vars": {
            "operate_python": str(command),
            "operate_move_staging": "staging",
            "operate_move_password": "their-own",
        },
        "tasks": [{"ansible.builtin.include_role": {"name": "operate", "tasks_from": "move_in"}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    given = {"move_source": "redis://:old-secret@old/0", "move_queues": {"celery": "", "mail": "io"}}

    def run(*options):
        log.unlink(missing_ok=True)
        result = site.run("-vvv", *options, "-e", f"@{tmp_path / 'given.json'}")
        assert "old-secret" not in result.stdout and "their-own" not in result.stdout
        return result, [json.loads(line) for line in log.read_text().splitlines()]

    (tmp_path / "given.json").write_text(json.dumps(given))
    result, calls = run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "8 tasks moved" in result.stdout and "mail: a message stays" in result.stdout
    assert len(calls) == 3
    assert calls[0] == [
        ["-P", "-m", "celery_fleet", "move-in"],
        {
            "source": given["move_source"], "password": "their-own", "look": False, "exchange": "staging",
            "queue": "staging", "user": "staging", "queues": given["move_queues"], "prefix": "",
            "ca_file": None, "unacked": "auto", "rate": 0.0,
        },
    ]  # fmt: skip
    result, calls = run("--check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert [given["look"] for _, given in calls] == [True]

    # From a former broker of the fleet, whose workers may take longer than anybody waits.
    [include] = play["tasks"]
    include["ansible.builtin.include_role"]["tasks_from"] = "move_over"
    command.write_text(MOVE.format(log=str(log)).replace("done = runs == 2", "done = False"))
    routes = [{"staging": "x", "queues": {}}]
    moving = {"source": given["move_source"], "routes": routes, "nodes": [["mq", 5672]]}
    play["vars"]["operate_move"] = {**moving, "patience": 1, "rate": 5}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    result, calls = run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert calls[0][1] == {
        **moving, "password": "their-own", "look": False, "user": "staging", "rate": 5.0,
    }  # fmt: skip
