"""The application's secrets on a host: any text comes back from its file, and none is in what was printed."""

import os
from pathlib import Path

import pytest
from fleet.host.application import all_secrets, masked, read_variables, write_variables
from hypothesis import example, given
from hypothesis import strategies as st

ODD = (
    "one\ntwo \\n 'single' \"double\" $HOME ${X} $(id) `id` \\ %d %% 5% #no =a; ü 🦄\t\r\n{{ x }} \x01\x7f \\"
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.dictionaries(NAMES, TEXTS))
@example({"ODD": ODD})
def test_variables_are_read_as_they_were_written(variables):
    assert read_variables(write_variables(variables)) == variables


def test_a_process_gets_the_secrets_of_all_readers_and_its_files_while_it_runs(tmp_path):
    (tmp_path / "io.env").write_text(write_variables({"A": ODD}))
    (tmp_path / "cpu.env").write_text(write_variables({"A": ODD, "B": "2"}))
    for reader in ("io", "cpu"):
        (tmp_path / f"{reader}-KEY").write_bytes(b"\x00\xff")
    with all_secrets(tmp_path, os.getuid(), os.getgid()) as variables:
        key = variables.pop("KEY")
        assert variables == {"A": ODD, "B": "2"}
        assert Path(key).read_bytes() == b"\x00\xff"
        assert Path(key).stat().st_mode & 0o077 == 0
    assert not Path(key).exists()


@pytest.mark.parametrize("directory", [None, "absent"])
def test_a_host_without_secrets_gives_none(tmp_path, directory):
    with all_secrets(directory and tmp_path / directory, os.getuid(), os.getgid()) as variables:
        assert variables == {}


def test_what_a_program_printed_shows_no_secret():
    key = "-----BEGIN KEY-----\nMIIabcdef\n-----END KEY-----"
    printed = "no route to postgres://u:hunter2@db1\nkey MIIabcdef is bad\nport 5432 of eu"
    assert masked(printed, ["postgres://u:hunter2@db1", key, "eu", ""]) == (
        "no route to (a secret)\nkey (a secret) is bad\nport 5432 of eu"
    )
