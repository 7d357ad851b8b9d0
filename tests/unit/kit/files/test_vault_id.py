"""A host tells the environment's file of secrets from others."""

import os
import subprocess

import pytest
from fleet.files.vault_id import look, mark, newer_is_kept, salted, strangers

OURS, THEIRS = "a" * 40, "b" * 40


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_new_host_knows_nothing(tmp_path):
    assert look(tmp_path) == {"mark": "", "secrets": {}}
    assert strangers(None, {"client": set()}, {"new": look(tmp_path), "silent": {}}) == {}


def test_a_host_with_a_mark_tells_no_secret(tmp_path):
    put(tmp_path, "etc/celery-fleet/vault_id", mark(f"{OURS}-1") + "\n")
    put(tmp_path, "etc/celery-fleet/secrets/client", "secret\n")
    found = look(tmp_path)
    assert found == {"mark": mark(f"{OURS}-1"), "secrets": {}}
    assert OURS not in str(found)


@pytest.mark.parametrize(
    ("vault_id", "why"),
    [
        (f"{OURS}-2", None),
        (f"{OURS}-3", None),
        (f"{OURS}-1", "has newer passwords"),
        (f"{THEIRS}-2", "has the secrets of another file"),
        (None, "has the secrets of another file"),
    ],
)
def test_the_mark_says_whose_secrets_they_are(tmp_path, vault_id, why):
    put(tmp_path, "etc/celery-fleet/vault_id", mark(f"{OURS}-2") + "\n")
    assert strangers(vault_id, {}, {"host": look(tmp_path)}) == ({"host": why} if why else {})


REPLACED = [
    ("2.aaaaaaaa", "2.aaaaaaaa", ""),
    ("2.aaaaaaaa", "3.bbbbbbbb", ""),
    ("2", "2", ""),
    ("2.aaaaaaaa", "2.bbbbbbbb", "has passwords that another controller made at the same time"),
    ("2.aaaaaaaa", "1", "has newer passwords"),
    ("10.aaaaaaaa", "9.bbbbbbbb", "has newer passwords"),
]


@pytest.mark.parametrize(("here", "given", "why"), REPLACED)
def test_two_controllers_that_replaced_the_passwords_at_once_are_told_apart(tmp_path, here, given, why):
    put(tmp_path, "etc/celery-fleet/vault_id", mark(f"{OURS}-{here}") + "\n")
    found = strangers(f"{OURS}-{given}", {}, {"host": look(tmp_path)})
    assert found == ({"host": why} if why else {})


@pytest.mark.parametrize(("here", "given", "why"), REPLACED)
def test_a_host_takes_no_passwords_older_than_its_own(tmp_path, here, given, why):
    """Also from a run that had looked before another controller replaced them."""
    (tmp_path / "here").write_text(mark(f"{OURS}-{here}") + "\n")
    (tmp_path / "draft").write_text(mark(f"{OURS}-{given}") + "\n")
    run = subprocess.run(
        [*newer_is_kept(str(tmp_path / "here")), tmp_path / "draft"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (run.returncode == 0) == (why == "")
    assert ("another controller has replaced the passwords" in run.stderr) == bool(why)


@pytest.mark.parametrize("here", [None, mark(f"{THEIRS}-7.aaaaaaaa") + "\n", ""])
def test_a_host_without_passwords_takes_some_and_new_secrets_are_never_older(tmp_path, here):
    if here is not None:
        (tmp_path / "here").write_text(here)
    (tmp_path / "draft").write_text(mark(f"{OURS}-1") + "\n")
    subprocess.run([*newer_is_kept(str(tmp_path / "here")), tmp_path / "draft"], check=True)


@pytest.mark.parametrize("text", ["", "?", "é" * 5000, mark(f"{OURS}-2")[:-5], "\0\n\n"])
def test_a_broken_mark_is_no_match(tmp_path, text):
    put(tmp_path, "etc/celery-fleet/vault_id", text)
    found = strangers(f"{OURS}-2", {"client": {"secret"}}, {"host": look(tmp_path)})
    assert bool(found) == bool(text.strip())


def test_secrets_of_an_earlier_version_stand_for_the_mark(tmp_path):
    put(tmp_path, "etc/celery-fleet/secrets/client", "old\n")
    put(tmp_path, "etc/celery-fleet/secrets/worker_gone", "whatever\n")
    put(tmp_path, "etc/celery-fleet/secrets/client.previous", "older\n")
    put(tmp_path, "etc/rabbitmq/conf.d/10-celery-fleet.conf", "")
    put(tmp_path, "var/lib/rabbitmq/.erlang.cookie", "cookie")
    seen = look(tmp_path)
    assert set(seen["secrets"]) == {"client", "worker_gone", "erlang_cookie"}
    assert "old" not in str(seen) and "cookie" not in str(list(seen["secrets"].values()))
    same = {"client": {"old"}, "erlang_cookie": {"cookie"}, "kit": set()}
    assert strangers(None, same, {"host": seen}) == {}
    assert strangers(None, same | {"client": {"former", "old"}}, {"host": seen}) == {}
    assert strangers(None, same | {"client": {"new"}}, {"host": seen}) == {"host": "has another client"}
    lost: dict[str, set[str]] = {name: set() for name in same}
    assert strangers(None, lost, {"host": seen}) == {"host": "has client, which the file lacks"}


def test_a_cookie_of_the_distribution_s_package_is_not_the_kit_s(tmp_path):
    put(tmp_path, "var/lib/rabbitmq/.erlang.cookie", "cookie")
    assert look(tmp_path)["secrets"] == {}


def test_two_hosts_tell_the_same_secret_differently(tmp_path):
    put(tmp_path, "etc/celery-fleet/secrets/client", "secret")
    assert look(tmp_path)["secrets"] != look(tmp_path)["secrets"]
    assert salted("secret", "a") != salted("secret", "b")


def test_links_and_pipes_are_not_read(tmp_path):
    put(tmp_path, "elsewhere", "secret")
    (tmp_path / "etc/celery-fleet/secrets").mkdir(parents=True)
    (tmp_path / "etc/celery-fleet/secrets/client").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "etc/celery-fleet/vault_id").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "etc/celery-fleet/secrets/kit")
    assert look(tmp_path) == {"mark": "", "secrets": {}}


def test_a_user_who_may_not_look_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    put(tmp_path, "etc/celery-fleet/vault_id", "")
    monkeypatch.setattr(os, "open", refuse)
    assert look(tmp_path) is None
    assert strangers(None, {}, {"host": None}) == {"host": "is not readable without root's rights"}
