"""Commands of a site: how a line is split, and what only a shell would understand."""

from __future__ import annotations

import pytest
from fleet.model.commands import argv, is_command, shell_sign


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("python manage.py migrate --no-input", ["python", "manage.py", "migrate", "--no-input"]),
        ("""sh -c 'echo "a b"; exit 3'""", ["sh", "-c", 'echo "a b"; exit 3']),
        (["sleep", 5], ["sleep", "5"]),
        (["sh", "-c", "one\ntwo"], ["sh", "-c", "one\ntwo"]),
    ],
)
def test_a_command_is_split_into_arguments(command: str | list[object], arguments: list[str]) -> None:
    assert is_command(command)
    assert not shell_sign(command)
    assert argv(command) == arguments


@pytest.mark.parametrize(
    "command", ["", "  ", [], [""], [None], [["sh"]], 5, True, "a\x00b", ["a", "b\x00"], "a\rb"]
)
def test_what_is_no_command_is_refused(command: object) -> None:
    assert not is_command(command)


@pytest.mark.parametrize(
    ("command", "sign"),
    [
        ("python a.py && python b.py", "&"),
        ("python a.py | tee log", "|"),
        ("python a.py > /tmp/log", ">"),
        ("python a.py $HOME", "$H"),
        ("python a.py `date`", "`"),
        ("DEBUG=1 python a.py", "DEBUG="),
        ("cd src", "cd"),
        ("python a.py 'x && y' \"$HOME\" \\; -x a=b", ""),
        (["sh", "-c", "a && b"], ""),
    ],
)
def test_a_line_that_needs_a_shell_is_known(command: str | list[object], sign: str) -> None:
    assert shell_sign(command) == sign


def test_a_quote_without_end_is_no_command() -> None:
    with pytest.raises(ValueError, match="quotation"):
        argv("python -c 'pass")
