"""The state of a host on a directory that stands for its root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fleet.host import foreign, state
from fleet.host.state import HostState, StateError, User


class Accounts:
    """Users and groups that exist in this test only; their numbers are those of who runs it."""

    def __init__(self) -> None:
        self.groups: set[str] = {"root"}
        self.users: dict[str, User] = {"root": User("root", "/root", "/bin/sh")}
        self.joined: dict[str, Sequence[str]] = {}

    def uid(self, name: str) -> int | None:
        return os.getuid() if name in self.users else None

    def gid(self, name: str) -> int | None:
        return os.getgid() if name in self.groups else None

    def user(self, name: str) -> User | None:
        return self.users.get(name)

    def add_group(self, name: str) -> None:
        self.groups.add(name)

    def members(self, group: str) -> list[str]:
        return list(self.joined.get(group, ()))

    def set_members(self, group: str, users: Sequence[str]) -> None:
        self.joined[group] = users

    def gids(self, name: str) -> list[int]:
        return [os.getgid()] if name in self.users else []

    def set_user(self, name: str, user: User, new: bool) -> None:
        assert new == (name not in self.users)
        self.users[name] = user


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
def apply(tmp_path: Path, accounts: Accounts) -> Any:
    """Return a function that applies items below the temporary root, and returns what differed by item."""

    def run(*items: dict[str, Any], check: bool = False, **secrets: str) -> dict[str, tuple[str, ...]]:
        state = HostState(check, secrets, tmp_path, accounts)
        state.apply(items)
        # For the tests that look at more than what differed; a function has no attributes of its own type.
        run.changes = state.changes  # type: ignore[attr-defined]
        return {change.item: change.what for change in state.changes}

    return run


def file(path: str, content: str = "text\n", **more: Any) -> dict[str, Any]:
    return {"file": path, "content": content, "mode": "0640", **more}


EVERYTHING = (
    {"group": "fleet"},
    {"user": "fleet", "group": "fleet", "home": "/var/lib/fleet", "shell": "/usr/sbin/nologin"},
    {"directory": "/etc/fleet/secrets", "owner": "fleet", "group": "fleet", "mode": "0750", "exact": True},
    {"file": "/etc/fleet/secrets/one", "secret": "one", "owner": "root", "group": "fleet", "mode": "0640"},
    {"file": "/etc/fleet/fleet.json", "content": "{}\n", "mode": "0644"},
    {"link": "/etc/fleet/current", "to": "releases/1"},
    {"absent": "/etc/fleet/old"},
)


def test_a_check_tells_what_the_run_then_does_and_a_second_run_changes_nothing(
    apply: Any, tmp_path: Path
) -> None:
    (tmp_path / "etc/fleet").mkdir(parents=True)
    (tmp_path / "etc/fleet/old").write_text("x")
    told = apply(*EVERYTHING, check=True, one="secret")
    assert list(told) == [
        "group fleet",
        "user fleet",
        "/etc/fleet/secrets",
        "/etc/fleet/secrets/one",
        "/etc/fleet/fleet.json",
        "/etc/fleet/current",
        "/etc/fleet/old",
    ]
    assert [path.name for path in (tmp_path / "etc/fleet").iterdir()] == ["old"]
    assert apply(*EVERYTHING, one="secret") == told
    assert (tmp_path / "etc/fleet/secrets/one").read_text() == "secret"
    assert (tmp_path / "etc/fleet/secrets").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "etc/fleet/current").readlink() == Path("releases/1")
    assert not (tmp_path / "etc/fleet/old").exists()
    assert apply(*EVERYTHING, one="secret") == {}


def test_what_differs_is_told_by_item_with_before_and_after(apply: Any, tmp_path: Path) -> None:
    apply({"directory": "/etc", "mode": "0755"}, file("/etc/a", "old\n"), file("/etc/b"))
    (tmp_path / "etc/b").chmod(0o644)
    assert apply(file("/etc/a", "new\n"), file("/etc/b")) == {"/etc/a": ("content",), "/etc/b": ("mode",)}
    one, two = apply.changes
    assert (one.before, one.after) == ("old\n", "new\n")
    assert ("mode: 0644" in two.before, "mode: 0640" in two.after) == (True, True)
    assert (tmp_path / "etc/b").stat().st_mode & 0o777 == 0o640


def test_a_secret_is_in_no_difference(apply: Any) -> None:
    apply({"directory": "/etc", "mode": "0755"})
    item = {"file": "/etc/key", "secret": "key", "mode": "0600"}
    apply(item, key="first secret")
    told = list(apply.changes)
    apply(item, key="second secret")
    assert [change.what for change in told + apply.changes] == [("missing",), ("content",)]
    assert not [change for change in told + apply.changes if "secret" in change.before + change.after]


def test_exact_removes_files_that_no_item_names(apply: Any, tmp_path: Path) -> None:
    directory = {"directory": "/etc/secrets", "mode": "0750", "exact": True}
    apply(directory, file("/etc/secrets/one"), file("/etc/secrets/two"))
    (tmp_path / "etc/secrets/deeper").mkdir()
    assert apply(directory, file("/etc/secrets/one")) == {"/etc/secrets/two": ("surplus",)}
    assert sorted(path.name for path in (tmp_path / "etc/secrets").iterdir()) == ["deeper", "one"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_without_an_owner_keeps_the_one_that_it_has(apply: Any, tmp_path: Path) -> None:
    apply({"directory": "/etc", "mode": "0755"}, file("/etc/a", "old\n"))
    os.chown(tmp_path / "etc/a", 4321, 4322)
    assert apply(file("/etc/a", "new\n")) == {"/etc/a": ("content",)}
    found = (tmp_path / "etc/a").stat()
    assert (found.st_uid, found.st_gid) == (4321, 4322)


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_no_link_of_another_user_is_followed(apply: Any, tmp_path: Path, mode: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").chmod(mode)
    (tmp_path / "state/inside").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="a link that another user may have made"):
        apply(file("/state/inside/file"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # The last part is never followed, wherever it is.
    (tmp_path / "elsewhere/target").write_text("mine")
    (tmp_path / "state/file").symlink_to(tmp_path / "elsewhere/target")
    assert apply(file("/state/file")) == {"/state/file": ("no file",)}
    assert (tmp_path / "elsewhere/target").read_text() == "mine"
    assert not (tmp_path / "state/file").is_symlink()


def test_a_link_in_a_directory_of_root_is_followed(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir(mode=0o755)
    (tmp_path / "var/run").symlink_to("../run")
    apply(file("/var/run/file"))
    assert (tmp_path / "run/file").exists()


def test_a_checker_sees_the_draft_by_its_name_and_can_refuse_it(apply: Any, tmp_path: Path) -> None:
    apply({"directory": "/etc", "mode": "0755"})
    named = [
        "sh",
        "-c",
        'grep -q good "$0" && test "$(basename "$0")" = a.service || { echo no >&2; exit 1; }',
    ]
    apply(file("/etc/a.service", "good\n", validate=named))
    with pytest.raises(StateError, match="is not written"):
        apply(file("/etc/a.service", "bad\n", validate=named))
    assert (tmp_path / "etc/a.service").read_text() == "good\n"
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["a.service"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (file("relative"), "no absolute path"),
        (file("/etc/../shadow"), "no absolute path"),
        (file("/nowhere/file"), "its directory is missing"),
        (file("/etc"), "is a directory"),
        (file("/etc/a", owner="nobody-of-this-name"), "there is no owner"),
        ({"link": "/etc", "to": "x"}, "no link"),
        ({"directory": "/file", "mode": "0755"}, "no directory"),
        ({"mode": "0755"}, "has none of"),
    ],
)
def test_what_can_t_be_is_refused_by_name(
    apply: Any, tmp_path: Path, item: dict[str, Any], message: str
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=message):
        apply(item)
    assert list((tmp_path / "etc").iterdir()) == []


def test_what_came_before_a_failure_is_told(tmp_path: Path, accounts: Accounts) -> None:
    state = HostState(root=tmp_path, accounts=accounts)
    with pytest.raises(StateError):
        state.apply([{"directory": "/etc", "mode": "0755"}, file("/nowhere/file")])
    assert [change.item for change in state.changes] == ["/etc", "/nowhere/file"]


def test_a_user_is_corrected(apply: Any, accounts: Accounts) -> None:
    accounts.users["fleet"] = User("root", "/home/fleet", "/bin/sh")
    item = {"user": "fleet", "group": "root", "home": "/var/lib/fleet", "shell": "/bin/sh"}
    assert apply(item) == {"user fleet": ("home",)}
    assert apply(item) == {}


def test_a_block_leaves_the_rest_of_a_file_as_it_is(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/conf").write_text("mine")
    (tmp_path / "etc/conf").chmod(0o640)
    apply(file("/etc/conf", "one\n", block=True))
    with (tmp_path / "etc/conf").open("a") as text:
        text.write("after\n")
    assert apply(file("/etc/conf", "one\n", block=True)) == {}
    assert apply(file("/etc/conf", "two\nthree", block=True)) == {"/etc/conf": ("content",)}
    begin, end = "# BEGIN ANSIBLE MANAGED BLOCK", "# END ANSIBLE MANAGED BLOCK"
    assert (tmp_path / "etc/conf").read_text().splitlines() == ["mine", begin, "two", "three", end, "after"]


def test_a_text_is_read_without_following_a_link(tmp_path: Path, accounts: Accounts) -> None:
    state = HostState(root=tmp_path, accounts=accounts)
    (tmp_path / "here").write_text("text\n")
    (tmp_path / "link").symlink_to("here")
    assert [state.text(path) for path in ("/here", "/link", "/nowhere", "/no/where")] == [
        "text\n",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize("kind", ["pipe", "hard link", "huge"])
def test_a_file_that_another_user_made_hostile_holds_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "started"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.write_bytes(b" " * (foreign.LARGEST + 1))
    else:
        (tmp_path / "shadow").write_text("root")
        os.link(tmp_path / "shadow", path)
    assert HostState(root=tmp_path).text("/started") == ""


def test_a_group_has_the_members_that_it_should_have_and_no_others(apply: Any, accounts: Accounts) -> None:
    accounts.users |= dict.fromkeys(("www-data", "old"), User("www-data", "/var/www", "/bin/false"))
    accounts.groups.add("clients")
    accounts.joined["clients"] = ["old"]
    items = (*EVERYTHING[:2], {"group": "clients", "members": ["fleet", "www-data"]})
    assert apply(*items, check=True)["group clients"] == ("members",)
    assert accounts.members("clients") == ["old"]
    apply(*items)
    assert (run := apply.changes[-1]).before == "old\n" and run.after == "fleet www-data\n"
    assert accounts.members("clients") == ["fleet", "www-data"]
    assert apply(*items) == {}
    assert apply({"group": "clients", "members": []}) == {"group clients": ("members",)}
    assert accounts.members("clients") == []
    apply({"group": "clients"})


@pytest.mark.parametrize("check", [True, False])
def test_a_member_that_is_nobody_is_named_before_anything_changes(
    apply: Any, accounts: Accounts, check: bool
) -> None:
    with pytest.raises(StateError, match="no user www-dta, nobdy, who should be in the group clients"):
        apply(*EVERYTHING, {"group": "clients", "members": ["fleet", "www-dta", "nobdy"]}, check=check)
    assert "fleet" not in accounts.users


def test_content_may_be_of_any_bytes_and_directories_above_it_are_made(apply: Any, tmp_path: Path) -> None:
    item = {"file": "/etc/shop/keys/one", "mode": "0600", "parents": True, "encoding": "base64"}
    assert apply({**item, "secret": "key"}, key="AP8=") == {"/etc/shop/keys/one": ("missing",)}
    assert (tmp_path / "etc/shop/keys/one").read_bytes() == b"\0\xff"
    assert apply({**item, "content": "AP8="}) == {}
    assert apply({**item, "content": "AP4="}, check=True) == {"/etc/shop/keys/one": ("content",)}


RECORD = {"record": "/etc/fleet/files.json"}


def test_files_that_left_the_record_are_removed_and_no_others(apply: Any, tmp_path: Path) -> None:
    etc = {"directory": "/etc/fleet", "mode": "0755"}
    paths = ["/etc/one", "/etc/two"]
    both = (etc, {**RECORD, "paths": paths}, *map(file, paths))
    assert list(apply(*both)) == ["/etc/fleet", "/etc/fleet/files.json", *paths]
    assert apply(*both) == {}
    (tmp_path / "etc/other").touch()
    one = (etc, {**RECORD, "paths": paths[:1]}, file(paths[0]))
    told = {"/etc/two": ("surplus",), "/etc/fleet/files.json": ("content",)}
    assert apply(*one, check=True) == told
    assert (tmp_path / "etc/two").exists()
    assert apply(*one) == told
    assert {path.name for path in (tmp_path / "etc").iterdir()} == {"fleet", "one", "other"}
    # A run that was cut short between the record and the file goes on.
    (tmp_path / "etc/one").unlink()
    assert apply(*one) == {"/etc/one": ("missing",)}
    assert list(apply(etc, {**RECORD, "paths": []})) == ["/etc/one", "/etc/fleet/files.json"]


def test_a_file_of_somebody_else_is_refused_before_anything_of_the_record_changes(
    apply: Any, tmp_path: Path
) -> None:
    etc = {"directory": "/etc/fleet", "mode": "0755"}
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/theirs").write_text("theirs")
    with pytest.raises(StateError, match="/etc/theirs is there already, and the kit did not write it"):
        apply(etc, {**RECORD, "paths": ["/etc/theirs"]}, file("/etc/theirs"))
    assert (tmp_path / "etc/theirs").read_text() == "theirs"
    assert not (tmp_path / "etc/fleet/files.json").exists()
    (tmp_path / "etc/fleet/files.json").write_text("no list")
    with pytest.raises(StateError, match="/etc/theirs"):
        apply({**RECORD, "paths": ["/etc/theirs"]})


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ([], False),
        (["lost+found"], False),
        ([".celery-fleet"], False),
        (["releases", "incoming", "x"], False),
        (["releases"], True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_directory_of_another_package_is_left_alone(
    apply: Any, tmp_path: Path, entries: list[str], refused: bool, check: bool
) -> None:
    (tmp_path / "opt/shop").mkdir(parents=True)
    for name in entries:
        (tmp_path / "opt/shop" / name).touch()
    items = [{"directory": "/opt/shop", "mode": "0700", "own": True}, file("/opt/shop/.celery-fleet")]
    if not refused:
        apply(*items, check=check)
        return
    with pytest.raises(StateError, match=r"/opt/shop is there, .* choose another fleet_app.name"):
        apply(*items, check=check)
    assert not (tmp_path / "opt/shop/.celery-fleet").exists()


def test_a_file_system_may_be_mounted_in_a_directory_before_it_is_the_kit_s(
    apply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opt/shop/releases").mkdir(parents=True)
    item = {"directory": "/opt/shop", "mode": "0755", "own": True}
    with pytest.raises(StateError, match="something else"):
        apply(item)
    found = state._stat

    def mounted(directory: int | None, name: str) -> os.stat_result | None:
        status = found(directory, name)
        if status is None or name != "releases":
            return status
        return os.stat_result([*status[:2], status.st_dev + 1, *status[3:]])

    monkeypatch.setattr(state, "_stat", mounted)
    apply(item)


def test_a_directory_keeps_what_the_site_does_not_say_of_it(
    apply: Any, tmp_path: Path, accounts: Accounts
) -> None:
    accounts.users["fleet"] = User("fleet", "/", "/bin/sh")
    item = {
        "directory": "/srv/uploads",
        "mode": "0750",
        "keeps": ["owner", "group", "mode"],
        "writers": ["fleet"],
    }
    assert apply(item) == {"/srv/uploads": ("missing",)}
    assert (tmp_path / "srv/uploads").stat().st_mode & 0o777 == 0o750
    (tmp_path / "srv/uploads").chmod(0o705)
    assert apply(item) == {}
    assert apply({**item, "keeps": ["owner", "group"]}) == {"/srv/uploads": ("mode",)}
    (tmp_path / "srv/uploads").chmod(0o555)
    with pytest.raises(StateError, match=r"/srv/uploads: fleet can't write there \(owner: .* mode: 0555\)"):
        apply(item)
    # In a check before the first run there is no such user.
    assert apply({**item, "writers": ["nobody-yet"]}, check=True) == {}


def test_a_directory_of_the_group_that_shares_it_is_opened_whatever_it_keeps(
    apply: Any, tmp_path: Path, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.users["pool"] = User("fleet", "/", "/bin/sh")
    # A user of the group that owns nothing.
    monkeypatch.setattr(accounts, "uid", lambda _name: os.getuid() + 1)
    place = tmp_path / "srv/uploads"
    place.mkdir(parents=True)
    place.chmod(0o750)
    accounts.groups.add("fleet")
    item = {"directory": "/srv/uploads", "mode": "0770", "writers": ["pool"], "shared": "fleet"}
    kept = {**item, "keeps": ["owner", "group", "mode"]}
    assert apply(kept, check=True) == {"/srv/uploads": ("mode",)}
    assert apply(kept) == {"/srv/uploads": ("mode",)}
    assert place.stat().st_mode & 0o7777 == 0o770
    assert apply(kept) == {}
    # One whose mode the site gives stays so, and is refused.
    with pytest.raises(StateError, match=r"/srv/uploads: pool can't write there"):
        apply({**item, "mode": "0750", "keeps": ["owner", "group"]})
