"""Secrets are made once, kept to themselves, and exchanged in steps that may be cut short anywhere."""

import multiprocessing
import stat

import pytest
import yaml
from fleet.files.secret_file import LENGTH, SecretFile, SecretsError, exchange, finish, prepare


class Plain:
    """No vault."""

    def encrypt(self, plain):
        return plain

    def decrypt(self, content):
        return content


class Reversed:
    """A vault whose secret everybody knows."""

    def encrypt(self, plain):
        return b"vault:" + plain[::-1]

    def decrypt(self, content):
        if not content.startswith(b"vault:"):
            return content
        return content.removeprefix(b"vault:")[::-1]


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".secrets" / "vault.yml"


def test_a_secret_is_made_once(path):
    file = SecretFile(path, Plain())
    assert file.value("client") is None
    file.ensure(["client", "kit"])
    first = file.value("client")
    assert len(first) == LENGTH and first.isalnum()
    assert first != file.value("kit")
    file.ensure(["client", "monitor"])
    assert SecretFile(path, Plain()).value("client") == first
    assert file.value("monitor")


def test_only_its_owner_may_read_it(path):
    SecretFile(path, Plain()).ensure(["client"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_with_a_vault_nothing_lies_there_in_the_clear(path):
    SecretFile(path, Plain()).ensure(["client"])
    client = SecretFile(path, Reversed()).value("client")
    SecretFile(path, Reversed()).ensure(["kit"])
    assert path.read_bytes().startswith(b"vault:")
    assert SecretFile(path, Reversed()).value("client") == client
    assert client.encode() not in path.read_bytes()


def test_what_a_site_wrote_itself_is_taken(path):
    path.parent.mkdir()
    path.write_text("client: the site's own\n")
    file = SecretFile(path, Plain())
    file.ensure(["client", "kit"])
    assert file.value("client") == "the site's own"


def test_somebody_else_s_change_is_seen(path):
    file = SecretFile(path, Plain())
    file.ensure(["client"])
    path.write_text("client: changed\n")
    assert file.value("client") == "changed"


def make(path):
    SecretFile(path, Plain()).ensure(["client", "kit"])


def test_processes_that_ask_at_once_get_the_same(path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=make, args=(path,)) for _ in range(8)]
    for process in processes:
        process.start()
    seen = set()
    while any(process.is_alive() for process in processes):
        if value := SecretFile(path, Plain()).value("client"):
            seen.add(value)
    assert all(process.exitcode == 0 for process in processes)
    assert seen <= {SecretFile(path, Plain()).value("client")}


@pytest.mark.parametrize("content", ["- client\n", "{client: [\n", "just words\n"])
def test_a_file_that_is_none_is_refused_without_showing_it(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(SecretsError) as refused:
        SecretFile(path, Plain()).value("client")
    assert str(path) in str(refused.value)
    assert "words" not in str(refused.value)


def test_a_number_is_no_password(path):
    path.parent.mkdir()
    path.write_text("client: 12345\n")
    with pytest.raises(SecretsError, match=r"client in .* is not a text; put it in quotes") as refused:
        SecretFile(path, Plain()).value("client")
    assert "12345" not in str(refused.value)


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    file = SecretFile(path, Plain())
    file.ensure(["client"])
    before = path.read_bytes()

    def fail(plain):
        raise OSError("no space left")

    monkeypatch.setattr(file._vault, "encrypt", fail)
    with pytest.raises(OSError, match="no space left"):
        file.ensure(["kit"])
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_exchange_step_by_step():
    kept = {"client": "old", "kit": "same"}
    prepared = prepare(kept, ["client"], lambda: "new")
    assert prepared == kept | {"next": {"client": "new"}}
    exchanged = exchange(prepared)
    assert exchanged == {"client": "new", "kit": "same", "exchanged": ["client"]}
    assert finish(exchanged) == {"client": "new", "kit": "same"}


def test_an_unfinished_exchange_is_finished_before_another_begins():
    prepared = prepare({"client": "old", "kit": "same"}, ["client"], lambda: "new")
    assert prepare(prepared, ["kit"], lambda: "newer") == prepared
    exchanged = exchange(prepared)
    assert prepare(exchanged, ["kit"], lambda: "newer") == exchanged
    assert exchange(exchanged) == exchanged
    assert prepare(finish(exchanged), ["kit"], lambda: "newer")["next"] == {"kit": "newer"}


def test_what_is_prepared_is_preferred_when_asked_for(path):
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"client": "old", "kit": "same", "next": {"client": "new"}}))
    file = SecretFile(path, Plain())
    assert file.value("client") == "old"
    assert file.value("client", upcoming=True) == "new"
    assert file.value("kit", upcoming=True) == "same"


class Odd:
    """What YAML can't hold, and what its error would show."""

    def __repr__(self):
        return "the secret"


def test_what_cannot_be_kept_is_not_shown(path):
    file = SecretFile(path, Plain())
    with pytest.raises(SecretsError) as refused, file.edit() as content:
        content["client"] = Odd()
    assert "the secret" not in repr(refused.value)
    assert refused.value.__cause__ is None and refused.value.__suppress_context__
    assert not path.exists()


class Tagged(str):
    """As Ansible's own texts are."""


def test_texts_of_ansible_are_kept_as_any_other(path):
    file = SecretFile(path, Plain())
    with file.edit() as content:
        content["client"] = Tagged("secret")
    assert yaml.safe_load(path.read_text()) == {"client": "secret"}
