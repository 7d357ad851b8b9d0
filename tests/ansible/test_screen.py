"""What a person sees of a run: Ansible itself, on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.celery_fleet.kit.plugins.callback.messages import CallbackModule
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.progress import (
    Step,
    Tally,
    batch_count,
    changes_text,
    hosts_text,
    named,
    seconds,
    tail,
)
from ansible_collections.celery_fleet.kit.plugins.plugin_utils.terminal import (
    LiveLine,
    all_harmless,
    fit,
    harmless,
)
from support.ansible_runs import environment, tool

# All look at the same runs, so one process makes them.
pytestmark = pytest.mark.xdist_group("screen")

HOSTILE = "\x1b[2J\x1b]0;owned\x07red\x1b[31m\x9b\x08\u202e"
# Nothing is sent to it: Ansible may meet the closed pipe before it has read why ssh ended.
GONE = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "ansible_pipelining": False,
}
INVENTORY = {
    "all": {
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        "children": {
            "web": {"hosts": {"cpu[1:3]": {}}},
            "dead": {"hosts": {"gone1": GONE}},
        },
    }
}


def play(name: str, *tasks: dict[str, Any], hosts: str = "web", **more: Any) -> dict[str, Any]:
    """A play without facts."""
    return {"name": name, "hosts": hosts, "gather_facts": False, "tasks": list(tasks), **more}


def task(name: str, action: str = "debug", arguments: Any = None, **more: Any) -> dict[str, Any]:
    """A task of Ansible's own collection."""
    return {"name": name, f"ansible.builtin.{action}": arguments or {}, **more}


def quiet(name: str, **more: Any) -> dict[str, Any]:
    """A task that shows nothing and starts no Python on the host."""
    return task(name, "set_fact", {"nothing": 1}, **more)


FAILS = {"cmd": "echo first; echo why {{ item | default('not') }} >&2; exit 3"}
PLAYS = [
    play(
        "Prepare",
        quiet("Read it"),
        quiet("Leave it out", when=False),
        quiet("Change it", changed_when="inventory_hostname != 'cpu2'", notify=["Reload"]),
        quiet("Change items", loop=["a", "b", "c"], changed_when="item != 'b'"),
        quiet("Change it from elsewhere", changed_when=True, delegate_to="localhost", run_once=True),
        task("Say it to everyone", arguments={"msg": f"first line {HOSTILE}\n  second line"}),
        task("Say who", arguments={"msg": "{{ inventory_hostname }} says so"}),
        task("Say something else", arguments={"var": "groups.web"}, run_once=True),
        task("Say lines", arguments={"msg": ["one line", "another"]}, run_once=True),
        task(
            "Write a file",
            "copy",
            {"content": f"new {HOSTILE}\n", "dest": "{{ place }}/written", "mode": "0600"},
            run_once=True,
        ),
        handlers=[quiet("Reload", changed_when=True)],
    ),
    play("Roll", quiet("Replace", changed_when="inventory_hostname == 'cpu3'"), serial=[1, 2]),
    play("Nobody", hosts="nobody"),
    play(
        "Background",
        {**task("Sleep in the background", "command", {"argv": ["sleep", "1.5"]}), "async": 20, "poll": 1},
        hosts="cpu1",
    ),
    play(
        "Fail",
        task("Reach it", "ping"),
        task(
            "Be lenient",
            "fail",
            {"msg": f"never mind {HOSTILE}"},
            ignore_errors=True,
            when="inventory_hostname == 'cpu1'",
        ),
        {
            "name": "Try",
            "when": "inventory_hostname == 'cpu1'",
            "block": [task("Try it", "fail", {"msg": "tried"})],
            "rescue": [task("Mend it", arguments={"msg": "mended"})],
        },
        task(
            "Hide it",
            "shell",
            {"cmd": "echo s3cret; exit 1"},
            no_log=True,
            when="inventory_hostname == 'cpu2'",
        ),
        task("Break items", "shell", FAILS, loop=["x", "y"], when="inventory_hostname == 'cpu3'"),
        task("Go on", arguments={"msg": "went on"}),
        hosts="cpu1:cpu2:cpu3:gone1",
    ),
]
WAITS = [
    play(
        "Wait",
        task(
            "Wait until it is there",
            "shell",
            {"cmd": "echo >> {{ place }}/tries; echo not yet >&2; test $(wc -l < {{ place }}/tries) -ge 3"},
            register="there",
            until="there is success",
            retries=5,
            delay=1,
            changed_when=False,
        ),
        hosts="cpu1",
    )
]


@dataclass
class Shown:
    """What a run printed and how it ended."""

    out: str
    err: str
    code: int

    def line(self, start: str) -> str:
        """The one line that begins with these words, without its seconds."""
        found = [line for line in self.out.splitlines() if line.strip().startswith(start)]
        assert len(found) == 1, f"{start!r}: {found}\n{self.out}\n{self.err}"
        return re.sub(r" \((\d+ min )?[0-9.]+ s\)$", "", found[0].strip())


class Book:
    """A playbook that runs while others do."""

    def __init__(
        self, place: Path, plays: list[dict[str, Any]], *options: str, terminal: bool = False, **more: str
    ) -> None:
        place.mkdir()
        (place / "hosts.yml").write_text(yaml.safe_dump(INVENTORY))
        (place / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
        command = [tool("ansible-playbook"), "-i", "hosts.yml", "-e", f"place={place}", *options, "play.yml"]
        wanted = {
            **environment(),
            "ANSIBLE_STDOUT_CALLBACK": "celery_fleet.kit.screen",
            "TERM": "xterm",
            **more,
        }
        # Whether it is a terminal decides, as it does for a person.
        wanted = {key: value for key, value in wanted.items() if key != "ANSIBLE_FORCE_COLOR" and value}
        self.out: list[bytes] = []
        screen, inside = pty.openpty() if terminal else os.pipe()
        # Of a terminal standard error is a part, too.
        self.process = subprocess.Popen(
            command,
            cwd=place,
            env=wanted,
            stdin=subprocess.DEVNULL,
            stdout=inside,
            stderr=inside if terminal else subprocess.PIPE,
        )
        os.close(inside)
        self.reader = threading.Thread(target=self.read, args=(screen,))
        self.reader.start()

    def read(self, screen: int) -> None:
        """Read until the last one closes it."""
        with os.fdopen(screen, "rb", buffering=0) as stream:
            try:
                while data := stream.read(4096):
                    self.out.append(data)
            except OSError:  # how a terminal ends
                return

    def shown(self) -> Shown:
        """Wait for its end."""
        err = self.process.communicate(timeout=600)[1] or b""
        self.reader.join()
        return Shown(b"".join(self.out).decode().replace("\r\n", "\n"), err.decode(), self.process.returncode)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """All runs, side by side."""
    place = tmp_path_factory.mktemp("screen")
    tried = [
        play(
            "Try",
            quiet("Change it", changed_when=True),
            task("Say it", arguments={"msg": '{"a": 1}'}),
            hosts="cpu1",
        )
    ]
    books = {
        "pipe": Book(place / "pipe", WAITS + PLAYS, "--diff", CELERY_FLEET_WAIT_INTERVAL="0.5"),
        "terminal": Book(place / "terminal", WAITS, terminal=True, ANSIBLE_NOCOLOR=""),
        "check": Book(place / "check", tried, "--check"),
        "verbose": Book(place / "verbose", tried, "-v"),
        "messages": Book(place / "messages", tried, ANSIBLE_STDOUT_CALLBACK="celery_fleet.kit.messages"),
    }
    return {name: book.shown() for name, book in books.items()}


def test_a_changed_step_is_one_line_and_the_others_are_counted(runs: dict[str, Shown]) -> None:
    shown = runs["pipe"]
    assert shown.line("changed  Change it:") == "changed  Change it: cpu1, cpu3"
    assert shown.line("changed  Change items") == "changed  Change items: cpu[1:3] (a, c)"
    assert shown.line("changed  Change it from") == "changed  Change it from elsewhere: cpu1 -> localhost"
    assert shown.line("changed  handler") == "changed  handler: Reload: cpu1, cpu3"
    assert shown.line("5 unchanged") == "5 unchanged, 5 changed, 1 skipped"
    # On a busy machine any step may be waited for.
    steps = re.sub(r"(?m)^  waiting  .*$", "", shown.out.partition("Summary")[0])
    assert "Read it" not in steps
    assert "Leave it out" not in steps


def test_messages_are_shown_as_they_are(runs: dict[str, Shown]) -> None:
    out = runs["pipe"].out
    assert "\nfirst line red\n  second line\n" in out
    assert "\ncpu1:\ncpu1 says so\ncpu2:\ncpu2 says so\n" in out
    assert "groups.web:" in out
    assert "\none line\nanother\n" in out


def test_differences_are_ansibles_own_and_harmless(runs: dict[str, Shown]) -> None:
    out = runs["pipe"].out
    assert re.search(
        r"  Write a file\n--- before\n\+\+\+ after: \S+/written\n@@ -0,0 \+1 @@\n\+new red\n", out
    )


def test_batches_say_which_hosts(runs: dict[str, Shown]) -> None:
    shown = runs["pipe"]
    assert shown.line("Roll, batch 1") == "Roll, batch 1 of 2: cpu1"
    assert shown.line("Roll, batch 2") == "Roll, batch 2 of 2: cpu[2:3]"
    assert "\nNobody\n  no hosts\n" in shown.out


def test_a_failure_is_shown_with_host_step_place_and_reason(runs: dict[str, Shown]) -> None:
    shown = runs["pipe"]
    assert re.fullmatch(r"UNREACHABLE  gone1: Reach it \(play.yml:\d+\)", shown.line("UNREACHABLE"))
    assert "Connection refused" in shown.out
    assert re.search(
        r"FAILED  cpu1: Be lenient \(play.yml:\d+\)\n    never mind red\n    ignored\n", shown.out
    )
    assert re.search(r"FAILED  cpu1: Try it \(play.yml:\d+\)\n    tried\n", shown.out)
    for item in "xy":
        text = (
            rf"FAILED  cpu3: Break items \(play.yml:\d+\)\n    item: {item}\n"
            rf"    .*\n    cmd: echo.*\n    rc: 3\n    stdout:\n      first\n    stderr:\n      why {item}\n"
        )
        assert len(re.findall(text, shown.out)) == 1, shown.out
    assert shown.out.count("Break items (play") == 2  # one for each item, and no third for the loop
    assert "\nwent on\n" in shown.out
    assert shown.code == 4


def test_a_step_in_the_background_has_its_whole_time(runs: dict[str, Shown]) -> None:
    took = re.search(r"\n  changed  Sleep in the background: cpu1 \((\S+) s\)\n", runs["pipe"].out)
    assert took and float(took[1]) >= 1.5


def test_no_log_stays_hidden(runs: dict[str, Shown]) -> None:
    out = runs["pipe"].out
    assert re.search(r"FAILED  cpu2: Hide it \(play.yml:\d+\)\n    the output has been hidden", out)
    assert "s3cret" not in out + runs["pipe"].err


def test_the_summary_names_hosts_changes_and_the_slowest_steps(runs: dict[str, Shown]) -> None:
    summary = runs["pipe"].out.partition("\nSummary")[2]
    assert "\n  1 changed: cpu1\n  2 failed: cpu[2:3]\n  1 unreachable: gone1\n" in summary
    assert "\n  rescued failures: cpu1\n  ignored failures: cpu1\n" in summary
    assert "\nChanged steps\n  Change it: cpu1, cpu3\n" in summary
    assert len(summary.partition("Slowest steps\n")[2].splitlines()) == 5


def test_a_pipe_gets_plain_lines(runs: dict[str, Shown]) -> None:
    for name in ("pipe", "check"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", runs[name].out)
    waits = [line for line in runs["pipe"].out.splitlines() if line.startswith("  waiting  ")]
    assert any(
        re.fullmatch(
            r"  waiting  Wait until it is there: cpu1 \(\d+ s\); cpu1: attempt \d of 6, not yet", line
        )
        for line in waits
    ), runs["pipe"].out


def test_a_terminal_has_a_live_line_and_colours(runs: dict[str, Shown]) -> None:
    shown = runs["terminal"]
    assert shown.code == 0, shown
    assert "  Wait until it is there: cpu1 (1 s)" in shown.out
    assert re.search(r"there: cpu1 \(\d s\); cpu1: attempt 2 of 6, not yet", shown.out)
    # What is left on the screen when every line that was erased is gone.
    left = re.sub(r"[^\n]*\r\x1b\[K", "", shown.out)
    assert left != shown.out
    assert "Wait until it is there: cpu1" not in left
    assert "\x1b[0;32m  1 unchanged" in left
    assert "waiting" not in shown.out


def test_a_check_says_so(runs: dict[str, Shown]) -> None:
    shown = runs["check"]
    assert shown.out.startswith("check mode: nothing is changed\n")
    assert shown.line("would change") == "would change  Change it: cpu1"
    assert "1 would change: cpu1" in shown.out


def test_verbose_output_is_ansibles_own(runs: dict[str, Shown]) -> None:
    out = runs["verbose"].out
    assert "\nTASK [Change it] ****" in out
    assert "changed: [cpu1] => \n    ansible_facts:" in out
    assert re.search(r"\nPLAY RECAP \*+\ncpu1 +: ok=2 +changed=1 ", out)
    assert "Summary" not in out


def test_the_other_callback_prints_messages_only(runs: dict[str, Shown]) -> None:
    assert json.loads(runs["messages"].out) == {"a": 1}


def test_the_other_callback_writes_nothing_but_text(capsys: pytest.CaptureFixture[str]) -> None:
    host, said = (
        SimpleNamespace(get_name=lambda: "cpu1"),
        SimpleNamespace(action="debug", get_name=lambda: "Say"),
    )
    result = SimpleNamespace(_task=said, _host=host, _result={"msg": f"a{HOSTILE}\nb"})
    CallbackModule().v2_runner_on_ok(result)
    CallbackModule().v2_runner_on_failed(result)
    assert capsys.readouterr() == ("ared\nb\n", "cpu1: Say: ared\nb\n")


def test_text_of_hosts_is_harmless() -> None:
    assert harmless(f"a{HOSTILE}b\r\nc\td\re") == "aredb\nc\td\ne"
    assert harmless("\x1b]0;no end\nnext") == "\nnext"
    assert all_harmless({"a\x07": ["b\x1b[1m", 1]}) == {"a": ["b", 1]}


def test_a_line_is_cut_to_the_columns() -> None:
    assert fit("abcdef", 4) == "abcd"
    assert fit("日本語", 4) == "日本"
    assert fit("e\u0301e\u0301e", 2) == "e\u0301e\u0301"


def test_the_live_line_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    out, err = io.StringIO(), io.StringIO()
    line = LiveLine(threading.RLock(), out, err)
    line.draw("waiting for it")
    assert out.getvalue() == "waiting f"
    err.write("warning\n")
    assert out.getvalue() == "waiting f\r\x1b[K"
    out.write("Password: ")
    line.draw("waiting")
    assert out.getvalue().endswith("Password: ")


def test_words() -> None:
    assert (seconds(4.24), seconds(200.4)) == ("4.2 s", "3 min 20 s")
    assert (
        hosts_text(["io1", "cpu10", "cpu2", "cpu1", "cpu1 -> localhost"])
        == "cpu[1:2], cpu10, io1, cpu1 -> localhost"
    )
    assert named([str(each) for each in range(8)]) == "0, 1, 2, 3, 4, 5 and 2 more"
    assert changes_text({"created": ["a"], "removed": ["b", "c"], "updated": []}) == "created a; removed b, c"
    assert [batch_count(sizes, 5) for sizes in ([1], [2], [1, 3], [0])] == [5, 3, 3, 1]
    assert tail("a\nb\nc\n", 2) == ["… 1 lines before", "b", "c"]


def test_hosts_with_the_same_changes_share_a_line() -> None:
    step = Step("Write", "id", 1.0, changed={"cpu1": "a", "cpu2": "a", "io1": ""})
    assert step.changes() == "cpu[1:2] (a); io1"
    tally = Tally(1.0)
    tally.add(step)
    tally.add(Step("Read", "id", 1.0, ok={"cpu1": None}, skipped={"cpu2": None}))
    tally.add(Step("Include", "id", 1.0))
    assert tally.text(3.0) == "1 unchanged, 1 changed (2.0 s)"
