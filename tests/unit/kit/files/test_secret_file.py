"""Secrets are made once, kept to themselves, and exchanged in steps that may be cut short anywhere."""

import contextlib
import itertools
import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest
import yaml
from fleet.files.secret_file import ID, LENGTH, SecretFile, SecretsError, exchange, finish, make, prepare
from hypothesis import given, settings
from hypothesis import strategies as st


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


class Locked(Reversed):
    """A vault whose file has another password."""

    def decrypt(self, content):
        raise SecretsError("this vault password does not decrypt it")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".secrets" / "vault.yml"


def make_in(file, *names):
    with file.edit() as content:
        content.update(make(content, names))


def write(path, text, mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def test_a_secret_is_made_once(path):
    file = SecretFile(path, Plain())
    assert file.value("client") is None
    make_in(file, "client", "kit")
    first = file.value("client")
    assert len(first) == LENGTH and first.isalnum()
    assert first != file.value("kit")
    make_in(file, "client", "monitor")
    assert SecretFile(path, Plain()).value("client") == first
    assert file.value("monitor")


def test_it_is_on_disk_under_its_name_before_anybody_is_given_what_it_holds(path, monkeypatch):
    kept = []
    fsync = os.fsync

    def synced(handle):
        kept.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    make_in(SecretFile(path, Plain()), "client")
    assert kept == [(str(path.with_name(".vault.yml.new")), False), (str(path.parent), True)]


def test_only_its_owner_may_read_it(path):
    make_in(SecretFile(path, Plain()), "client")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_with_a_vault_nothing_lies_there_in_the_clear(path):
    make_in(SecretFile(path, Plain()), "client")
    client = SecretFile(path, Reversed()).value("client")
    make_in(SecretFile(path, Reversed()), "kit")
    assert path.read_bytes().startswith(b"vault:")
    assert SecretFile(path, Reversed()).value("client") == client
    assert client.encode() not in path.read_bytes()


def test_what_a_site_wrote_itself_is_taken(path):
    write(path, "client: the site's own\n")
    file = SecretFile(path, Plain())
    make_in(file, "client", "kit")
    assert file.value("client") == "the site's own"


def test_somebody_else_s_change_is_seen(path):
    file = SecretFile(path, Plain())
    make_in(file, "client")
    path.write_text("client: changed\n")
    assert file.value("client") == "changed"


def make_both(path):
    make_in(SecretFile(path, Plain()), "client", "kit")


def test_processes_that_ask_at_once_get_the_same(path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=make_both, args=(path,)) for _ in range(8)]
    for process in processes:
        process.start()
    seen = set()
    while any(process.is_alive() for process in processes):
        if value := SecretFile(path, Plain()).value("client"):
            seen.add(value)
    assert all(process.exitcode == 0 for process in processes)
    assert seen <= {SecretFile(path, Plain()).value("client")}


def test_the_id_is_the_last_line_and_stays(path):
    file = SecretFile(path, Plain())
    make_in(file, "client", "worker_io")
    last = path.read_text().splitlines()[-1]
    assert last.startswith(f"{ID}: ")
    make_in(file, "zebra")
    assert path.read_text().splitlines()[-1] == last


def test_a_file_without_an_id_gets_one(path):
    write(path, "client: secret\n")
    file = SecretFile(path, Plain())
    make_in(file, "client")
    assert file.value("client") == "secret"
    assert file.value(ID).endswith("-1")


REFUSED = {
    "empty": "",
    "null": "null\n",
    "quotes": '""\n',
    "braces": "{}\n",
    "comment": "# secrets\n",
    "list": "- s3cret\n",
    "words": "just s3cret words\n",
    "not YAML": "{s3cret: [\n",
    "date": "client: 2026-99-99\n",
    "bytes": b"client: \xff\xfe s3cret\n",
    "deep": "[" * 20_000,
    "no value": "client:\n",
    "empty value": "client: ''\n",
    "nested": "client: {s3cret: x}\n",
    "number as name": "1: s3cret\n",
    "odd exchange": "next: [s3cret]\n",
    "empty exchange": "next: {client: }\n",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_none_is_refused_without_showing_it(path, content):
    write(path, content)
    before = path.read_bytes()
    with pytest.raises(SecretsError) as refused:
        SecretFile(path, Plain()).value("client")
    assert str(path) in str(refused.value)
    assert any(
        remedy in str(refused.value) for remedy in ("Restore it", "restore the file", "put it in quotes")
    )
    assert "s3cret" not in str(refused.value)
    with pytest.raises(SecretsError):
        make_in(SecretFile(path, Plain()), "client")
    assert path.read_bytes() == before


def test_a_file_that_was_cut_anywhere_is_refused(path):
    file = SecretFile(path, Plain())
    make_in(file, "client", "kit", "worker_io")
    with file.edit() as content:
        content.update(prepare(content, ["client"]))
    whole = path.read_bytes()
    for length in range(len(whole)):
        write(path, whole[:length])
        with pytest.raises(SecretsError, match=r"empty|cut short|not YAML|not a text|mapping"):
            SecretFile(path, Plain()).value("client")


def test_a_link_is_refused_whether_it_leads_somewhere_or_not(path):
    write(path.with_name("other.yml"), "client: secret\n")
    path.symlink_to("other.yml")
    with pytest.raises(SecretsError, match=r"symbolic link.*fleet_vault_file"):
        SecretFile(path, Plain()).value("client")
    path.with_name("other.yml").unlink()
    with pytest.raises(SecretsError, match="symbolic link"):
        make_in(SecretFile(path, Plain()), "client")


@pytest.mark.parametrize("kind", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(path, kind):
    path.parent.mkdir()
    kind(path)
    with pytest.raises(SecretsError, match="is not a file"):
        SecretFile(path, Plain()).value("client")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602])
def test_a_file_that_others_may_read_is_refused_unless_it_is_encrypted(path, mode):
    write(path, "client: secret\n", mode)
    with pytest.raises(SecretsError, match=f"chmod 600 {path}"):
        SecretFile(path, Plain()).value("client")
    write(path, Reversed().encrypt(b"client: secret\n"), mode)
    assert SecretFile(path, Reversed()).value("client") == "secret"


def test_another_vault_password_is_refused_with_the_file(path):
    make_in(SecretFile(path, Reversed()), "client")
    path.touch()
    with pytest.raises(SecretsError, match=f"{path}: this vault password does not decrypt it"):
        SecretFile(path, Locked()).value("client")


lines = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
garbage = st.one_of(
    st.binary(max_size=60),
    lines.map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["client", "next", ID, "é"]), inner)
        ),
        max_leaves=6,
    ).map(lambda data: yaml.safe_dump(data, allow_unicode=True).encode()),
)


@settings(max_examples=300, deadline=None)
@given(garbage)
def test_garbage_is_refused_or_gives_texts(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("garbage") / "vault.yml"
    write(path, raw)
    file = SecretFile(path, Plain())
    with contextlib.suppress(SecretsError):
        found = [
            file.value(name, upcoming=upcoming)
            for name, upcoming in itertools.product(["client", ID], [0, 1])
        ]
        assert all(value is None or (isinstance(value, str) and value) for value in found)
        make_in(file, "client")
        assert file.value("client") == found[0] or found[0] is None


def test_a_draft_that_a_killed_run_left_does_not_stay(path):
    write(path.with_name(".vault.yml.new"), "client: secret\n")
    make_in(SecretFile(path, Plain()), "client")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_number_is_no_password(path):
    write(path, "client: 12345\n")
    with pytest.raises(SecretsError, match=r"client in .* is not a text; put it in quotes") as refused:
        SecretFile(path, Plain()).value("client")
    assert "12345" not in str(refused.value)


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    file = SecretFile(path, Plain())
    make_in(file, "client")
    before = path.read_bytes()

    def fail(plain):
        raise OSError("no space left")

    monkeypatch.setattr(file._vault, "encrypt", fail)
    with pytest.raises(OSError, match="no space left"):
        make_in(file, "kit")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_exchange_step_by_step():
    kept = {"client": "old", "kit": "same", ID: "random-1"}
    prepared = prepare(kept, ["client"], lambda: "new")
    assert re.fullmatch(r"random-2\.[A-Za-z0-9]{8}", prepared[ID])
    renewed = {ID: prepared[ID]}
    assert prepared == kept | renewed | {"next": {"client": "new"}}
    exchanged = exchange(prepared)
    assert exchanged == {"client": "new", "kit": "same", "exchanged": ["client"]} | renewed
    assert finish(exchanged) == {"client": "new", "kit": "same"} | renewed


def test_an_unfinished_exchange_is_finished_before_another_begins():
    prepared = prepare({"client": "old", "kit": "same"}, ["client"], lambda: "new")
    assert prepare(prepared, ["kit"], lambda: "newer") == prepared
    exchanged = exchange(prepared)
    assert prepare(exchanged, ["kit"], lambda: "newer") == exchanged
    assert exchange(exchanged) == exchanged
    assert prepare(finish(exchanged), ["kit"], lambda: "newer")["next"] == {"kit": "newer"}


def test_what_is_prepared_is_preferred_when_asked_for(path):
    write(path, yaml.safe_dump({"client": "old", "kit": "same", "next": {"client": "new"}}))
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
    assert yaml.safe_load(path.read_text())["client"] == "secret"
