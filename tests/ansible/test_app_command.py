"""What is shown of a command while it runs, and how `-e command=` is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.celery_fleet.kit.plugins.action import app_command
from ansible_collections.celery_fleet.kit.plugins.action.app_command import ActionModule
from ansible_collections.celery_fleet.kit.plugins.filter.command import whole
from support.played_action import PlayedModule


# Ansible has no types, so its classes are of any.
class Action(PlayedModule, ActionModule):  # type: ignore[misc]
    """The action with a module that the test plays."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__({"argv": ["manage", "migrate"]}, *answers)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown."""
    shown: list[str] = []
    monkeypatch.setattr(app_command.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(app_command, "Display", lambda: SimpleNamespace(display=shown.append))
    return shown


def test_output_is_shown_as_it_comes_and_is_in_the_result(lines: list[str]) -> None:
    action = Action(
        {"running": True, "waits_for": "Migrate (before_release of r1)"},
        {"running": True, "waits_for": "Migrate (before_release of r1)"},
        {"running": True, "unit": "u", "offset": 4, "stdout": "one\n"},
        {"running": True, "unit": "u", "offset": 4, "stdout": ""},
        {"running": False, "unit": "u", "offset": 12, "stdout": "\x1b[2Jtwo", "rc": 3, "failed": True},
    )
    result = action.run(task_vars={"inventory_hostname": "io1"})
    assert lines[0] == "[io1] waits for what another run has started: Migrate (before_release of r1)"
    assert lines[1] == "[io1] one"
    assert len(lines) == 3
    assert "\x1b" not in lines[2]
    assert (result["rc"], result["failed"], result["stdout"]) == (3, True, "one\n\x1b[2Jtwo")
    # Whoever waits for another one starts its own; then it is followed.
    own = {"argv": ["manage", "migrate"]}
    follow = {**own, "unit": "u", "offset": 4}
    assert action.asked == [own, own, own, follow, follow]


@pytest.mark.parametrize(
    ("given", "read", "meant"),
    [
        (["command=python manage.py migrate --x=1"], "python", "python manage.py migrate --x=1"),
        (["run_on=all", "command=python -c 'a b'"], "python", "python -c 'a b'"),
        (['command="python manage.py" run_on=all'], "python manage.py", "python manage.py"),
        (["command=true"], "true", "true"),
        (['{"command": ["a", "b c"]}'], ["a", "b c"], ["a", "b c"]),
        (["command=python x", '{"command": "other"}'], "other", "other"),
        ([], "true", "true"),
    ],
)
def test_a_command_is_meant_whole_though_ansible_splits_it(
    given: list[str], read: object, meant: object
) -> None:
    assert whole(read, given) == meant


def test_an_option_after_a_command_without_quotes_is_refused() -> None:
    with pytest.raises(ValueError, match="its own -e"):
        whole("python", ["command=python manage.py check run_on=all"])
