"""Groups, users, directories, files and links of a host: compared with what should be, and put in place.

Standard library only, because it runs on the host. A path is walked from the root by directory descriptors:
where anybody but root (or who runs this) could put a link, none is followed, on the way or at the end.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from . import foreign
from .names import made_by_kit

# The first of these keys that an item has is its kind; a group is also what others belong to.
KINDS: Final = ("file", "directory", "link", "absent", "record", "user", "group")
# What nobody else may read while it is not yet what it should be.
_DRAFT_MODE: Final = 0o600
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class StateError(Exception):
    """A host can't be brought to its state; the message says what is in the way."""


@dataclass(frozen=True)
class Change:
    """One item that differs, or differed.

    Attributes:
        item: Its path, or its kind and name.
        what: What differs: ``content``, ``owner``, ``mode``, ``missing``, …
        before: What it is, as text; of a secret, nothing.
        after: What it becomes.
    """

    item: str
    what: tuple[str, ...]
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class User:
    """An account, as far as the kit sets it."""

    group: str
    home: str
    shell: str


class Accounts(Protocol):
    """The users and groups of a host."""

    def uid(self, name: str) -> int | None:
        """Return a user's number; none if there is no such user."""

    def gid(self, name: str) -> int | None:
        """Return a group's number; none if there is no such group."""

    def user(self, name: str) -> User | None:
        """Return an account; none if there is no such user."""

    def gids(self, name: str) -> list[int]:
        """Return the numbers of a user's groups; none if there is no such user."""

    def add_group(self, name: str) -> None:
        """Make a system group."""

    def members(self, group: str) -> list[str]:
        """Return the users of a group that it is not the primary one of; none if there is no such group."""

    def set_members(self, group: str, users: Sequence[str]) -> None:
        """Make these users the members of a group, and no others."""

    def set_user(self, name: str, user: User, new: bool) -> None:
        """Make a system user, or correct one."""


class System:
    """The accounts of this host, changed by the distribution's own commands."""

    def uid(self, name: str) -> int | None:
        """Return a user's number; none if there is no such user."""
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None

    def gid(self, name: str) -> int | None:
        """Return a group's number; none if there is no such group."""
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def gids(self, name: str) -> list[int]:
        """Return the numbers of a user's groups; none if there is no such user."""
        try:
            return os.getgrouplist(name, pwd.getpwnam(name).pw_gid)
        except KeyError:
            return []

    def user(self, name: str) -> User | None:
        """Return an account; none if there is no such user."""
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            return None
        try:
            group = grp.getgrgid(account.pw_gid).gr_name
        except KeyError:
            group = str(account.pw_gid)
        return User(group, account.pw_dir, account.pw_shell)

    def add_group(self, name: str) -> None:
        """Make a system group.

        Raises:
            StateError: ``groupadd`` refuses.
        """
        _command("groupadd", "--system", name)

    def members(self, group: str) -> list[str]:
        """Return the users of a group that it is not the primary one of; none if there is no such group."""
        try:
            return grp.getgrnam(group).gr_mem
        except KeyError:
            return []

    def set_members(self, group: str, users: Sequence[str]) -> None:
        """Make these users the members of a group, and no others.

        Raises:
            StateError: ``gpasswd`` refuses.
        """
        _command("gpasswd", "--members", ",".join(users), group)

    def set_user(self, name: str, user: User, new: bool) -> None:
        """Make a system user, or correct one.

        Raises:
            StateError: ``useradd`` or ``usermod`` refuses.
        """
        verb = ["useradd", "--system", "--no-create-home"] if new else ["usermod"]
        _command(
            *verb,
            "--gid",
            user.group,
            "--home-dir" if new else "--home",
            user.home,
            "--shell",
            user.shell,
            name,
        )


@dataclass
class HostState:
    """Compares the items of a host and puts them in place, one after the other.

    Attributes:
        check: Whether to compare only.
        secrets: Contents that no result may show, by name.
        root: Directory that stands for the root of the file system.
        accounts: The users and groups.
        changes: What differed so far.
    """

    check: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    accounts: Accounts = field(default_factory=System)
    changes: list[Change] = field(default_factory=list)

    def apply(self, items: Sequence[Mapping[str, Any]]) -> list[Change]:
        """Compare all items in order, and put those in place that differ.

        Args:
            items: Each with one of the keys of ``KINDS``, whose value is its name or path, and with what
                that kind takes. A group: ``members`` (nobody else stays in it). A user: ``group``,
                ``home``, ``shell``. A directory: ``owner``, ``group``, ``mode``, ``exact`` (files in it
                that no item names are removed), ``keeps`` (which of owner, group and mode stay if it is
                there), ``shared`` (a group to which it is opened if it belongs to it), ``writers`` (users who
                must be able to write in it), ``own`` (refused if something else than the kit made it). A
                file: ``content`` or the name
                of a ``secret``, in an ``encoding`` (``text`` or ``base64``), ``owner``, ``group``,
                ``mode``, ``validate`` (a command that is given a draft of the same name), ``block`` (the
                content is the kit's own part of the file), ``parents`` (directories above it that are
                missing are made). A link: ``to``. A record: ``paths`` (files that it named before and does
                not now are removed).

        Returns:
            What differed.

        Raises:
            StateError: A group is to have members that are nobody, and nothing was changed. Or an item is no
                item, or can't be put in place; what came before it stays.
        """
        self._check_members(items)
        kinds: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "group": self._group,
            "user": self._user,
            "directory": self._directory,
            "file": self._file,
            "link": self._link,
            "absent": self._absent,
            "record": self._record,
        }
        for item in items:
            kind = next((name for name in KINDS if item.get(name) is not None), None)
            if kind is None:
                raise StateError(f"an item has none of {', '.join(KINDS)}: {sorted(item)}")
            try:
                kinds[kind](item)
                if kind == "directory":
                    self._check_writers(item)
                if kind == "directory" and item.get("exact"):
                    self._only(item, items)
            except OSError as error:
                raise StateError(f"{item[kind]}: {error.strerror or error}") from error
        return self.changes

    def text(self, path: str) -> str:
        """Return the content of a small file, which another user may have written; empty if there is none.

        Args:
            path: Its absolute path.

        Raises:
            StateError: There is a link on the way that another user may have made.
        """
        with self._parent(Path(path)) as parent:
            content = None if parent is None else foreign.read_in(parent, Path(path).name)
            return (content or b"").decode(errors="replace")

    def _group(self, item: Mapping[str, Any]) -> None:
        name = item["group"]
        if self.accounts.gid(name) is None:
            self._differs(f"group {name}", "missing")
            if not self.check:
                self.accounts.add_group(name)
        if item.get("members") is None:
            return
        before, after = sorted(self.accounts.members(name)), sorted(set(item["members"]))
        if before != after:
            shown = (" ".join(users) + "\n" for users in (before, after))
            self._differs(f"group {name}", "members", before=next(shown), after=next(shown))
            if not self.check:
                self.accounts.set_members(name, after)

    def _check_members(self, items: Sequence[Mapping[str, Any]]) -> None:
        made = {item["user"] for item in items if item.get("user")}
        for item in items:
            nobody = [
                user
                for user in item.get("members") or ()
                if user not in made and self.accounts.uid(user) is None
            ]
            if nobody:
                raise StateError(
                    f"this host has no user {', '.join(nobody)}, who should be in the group {item['group']}"
                )

    def _user(self, item: Mapping[str, Any]) -> None:
        name, account = item["user"], self.accounts.user(item["user"])
        desired = User(item["group"], item["home"], item["shell"])
        if account == desired:
            return
        what = (
            ["missing"]
            if account is None
            else [key for key in ("group", "home", "shell") if getattr(account, key) != getattr(desired, key)]
        )
        self._differs(f"user {name}", *what, before=_text(account), after=_text(desired))
        if not self.check:
            self.accounts.set_user(name, desired, new=account is None)

    def _directory(self, item: Mapping[str, Any]) -> None:
        path = Path(item["directory"])
        with self._parent(path, make=True) as parent:
            status = _stat(parent, path.name)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                raise StateError(f"{path} is no directory")
            if status is not None and item.get("own") and not self._is_own(path):
                raise StateError(
                    f"{path} is there, and something else than celery-fleet made it: choose another "
                    "fleet_app.name, or move it away"
                )
            if status is not None:
                item = _without(item, item.get("keeps") or (), status, self._opened(item, status))
            if status is None:
                self._differs(str(path), "missing", after=self._rights_text(item, None))
                if self.check:
                    return
                os.mkdir(path.name, _DRAFT_MODE | 0o100, dir_fd=parent)
                self._own(parent, path.name, item)
            elif wrong := self._wrong_rights(item, status):
                before, after = self._rights_text(item, status), self._rights_text(item, None)
                self._differs(str(path), *wrong, before=before, after=after)
                if not self.check:
                    self._own(parent, path.name, item)

    def _is_own(self, path: Path) -> bool:
        """Return whether an application's directory is the kit's, or empty.

        File systems may be mounted there, and below it, before the first deploy.
        """
        with self._parent(path / "-") as place:
            entries = [] if place is None else os.listdir(place)  # noqa: PTH208 - of a descriptor
            devices = {name: found.st_dev for name in (".", *entries) if (found := _stat(place, name))}
        mounted = {name for name, device in devices.items() if device != devices["."]}
        return {*entries} <= {*mounted, "lost+found"} or made_by_kit(entries)

    def _check_writers(self, item: Mapping[str, Any]) -> None:
        """Refuse a directory in which a user can't write.

        Raises:
            StateError: With the owner, group and mode that it has.
        """
        path = Path(item["directory"])
        with self._parent(path) as parent:
            status = _stat(parent, path.name)
        # A check, in which the directory would be made.
        if status is None:
            return
        mode = status.st_mode | self._opened(item, status)
        for writer in item.get("writers") or ():
            if not self._can_write(writer, status, mode):
                rights = self._rights_text(item, status).strip().replace("\n", ", ")
                raise StateError(f"{path}: {writer} can't write there ({rights}): give owner, group or mode")

    def _opened(self, item: Mapping[str, Any], status: os.stat_result) -> int:
        """Return the bits of the mode by which a directory is opened to the group that shares it."""
        shared = item.get("shared") and status.st_gid == self.accounts.gid(item["shared"])
        return stat.S_IRWXG if shared and "mode" in (item.get("keeps") or ()) else 0

    def _can_write(self, user: str, status: os.stat_result, mode: int) -> bool:
        number = self.accounts.uid(user)
        # A check, in which the user would be made.
        if number is None:
            return True
        if status.st_uid == number:
            bits = stat.S_IWUSR | stat.S_IXUSR
        elif status.st_gid in self.accounts.gids(user):
            bits = stat.S_IWGRP | stat.S_IXGRP
        else:
            bits = stat.S_IWOTH | stat.S_IXOTH
        return mode & bits == bits

    def _only(self, item: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """Remove the files of a directory that no item names."""
        directory = Path(item["directory"])
        named = {
            Path(other["file"]).name
            for other in items
            if other.get("file") and Path(other["file"]).parent == directory
        }
        with self._parent(directory / "-") as place:
            if place is None:
                return
            for name in sorted(set(os.listdir(place)) - named):  # noqa: PTH208 - of a descriptor
                status = _stat(place, name)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    self._differs(str(directory / name), "surplus", before=f"{name}\n")
                    if not self.check:
                        os.unlink(name, dir_fd=place)

    def _file(self, item: Mapping[str, Any]) -> None:
        path, secret = Path(item["file"]), item.get("secret") is not None
        with self._parent(path, make=bool(item.get("parents"))) as parent:
            status = _stat(parent, path.name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise StateError(f"{path} is a directory")
            regular = status is not None and stat.S_ISREG(status.st_mode)
            before = _read(parent, path.name) if regular else b""
            content = (self.secrets[item["secret"]] if secret else item["content"]).encode()
            if item.get("encoding") == "base64":
                content = base64.b64decode(content)
            if item.get("block"):
                content = _with_block(before, content)
            wrong = [] if status is None or not regular else self._wrong_rights(item, status)
            if not regular or before != content:
                wrong.insert(0, "content" if regular else "missing" if status is None else "no file")
            if not wrong:
                return
            shown = not secret and wrong[0] in ("content", "missing", "no file")
            self._differs(
                str(path),
                *wrong,
                before=before.decode(errors="replace") if shown else self._rights_text(item, status),
                after=content.decode(errors="replace") if shown else self._rights_text(item, None),
            )
            if self.check:
                return
            if parent is None:
                raise StateError(f"{path}: its directory is missing")
            if wrong[0] in ("content", "missing", "no file"):
                _validate(path, content, item.get("validate"))
                self._replace(parent, path.name, content, item, status if regular else None)
            else:
                self._own(parent, path.name, item)

    def _link(self, item: Mapping[str, Any]) -> None:
        path, to = Path(item["link"]), str(item["to"])
        with self._parent(path) as parent:
            status = _stat(parent, path.name)
            if status is not None and not stat.S_ISLNK(status.st_mode):
                raise StateError(f"{path} is there and no link")
            before = "" if status is None else os.readlink(path.name, dir_fd=parent)
            if before == to:
                return
            self._differs(
                str(path),
                "missing" if status is None else "target",
                before=before and f"{before}\n",
                after=f"{to}\n",
            )
            if self.check:
                return
            draft = f".{path.name}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=parent)
            os.symlink(to, draft, dir_fd=parent)
            # At once, so that there is no moment without it.
            os.rename(draft, path.name, src_dir_fd=parent, dst_dir_fd=parent)

    def _record(self, item: Mapping[str, Any]) -> None:
        """Remove the files that a record names and an item does not, and write down those that it does.

        Raises:
            StateError: There is a file already that is in no record, so that it is somebody else's.
        """
        path, wanted = item["record"], list(item["paths"])
        try:
            known = json.loads(self.text(path) or "[]")
        except ValueError:
            known = []
        for each in wanted:
            if each not in known and self._exists(each):
                raise StateError(
                    f"{each} is there already, and the kit did not write it: remove one of the two"
                )
        for each in known:
            if each not in wanted:
                self._absent({"absent": each})
        text = json.dumps(wanted, indent=1) + "\n"
        if wanted or known:
            self._file({"file": path, "content": text, "owner": "root", "group": "root", "mode": "0644"})

    def _exists(self, path: str) -> bool:
        with self._parent(Path(path)) as parent:
            return _stat(parent, Path(path).name) is not None

    def _absent(self, item: Mapping[str, Any]) -> None:
        path = Path(item["absent"])
        with self._parent(path) as parent:
            status = _stat(parent, path.name)
            if status is None:
                return
            self._differs(str(path), "surplus", before=f"{path}\n")
            if self.check:
                return
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(path.name, dir_fd=parent)
            else:
                os.unlink(path.name, dir_fd=parent)

    @contextlib.contextmanager
    def _parent(self, path: Path, make: bool = False) -> Iterator[int | None]:
        """Open the directory of a path.

        Args:
            path: An absolute path.
            make: Whether directories that are missing are made; not in a check.

        Yields:
            Its descriptor; none if it is missing.

        Raises:
            StateError: There is a link on the way that somebody else may have put there.
        """
        if not path.is_absolute() or ".." in path.parts:
            raise StateError(f"{path} is no absolute path")
        place = os.open(self.root, _DIRECTORY)
        try:
            for part in path.parts[1:-1]:
                status = _stat(place, part)
                if status is None:
                    if not make or self.check:
                        yield None
                        return
                    os.mkdir(part, 0o755, dir_fd=place)
                elif stat.S_ISLNK(status.st_mode) and not _trusted(place):
                    raise StateError(f"{path}: {part} on the way is a link that another user may have made")
                # Where others may write, a link that came meanwhile is not followed either.
                step = os.open(part, _DIRECTORY | (0 if _trusted(place) else os.O_NOFOLLOW), dir_fd=place)
                os.close(place)
                place = step
            yield place
        finally:
            os.close(place)

    def _replace(
        self, parent: int, name: str, content: bytes, item: Mapping[str, Any], status: os.stat_result | None
    ) -> None:
        """Write a file beside its place and move it there, so that nobody reads half of it."""
        draft = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=parent)
        handle = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _DRAFT_MODE, dir_fd=parent
        )
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if status is not None:
                    # Whose it was it stays, unless the item says otherwise.
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                self._own_open(file.fileno(), item)
                os.fsync(file.fileno())
            os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=parent)
            raise
        os.fsync(parent)

    def _own(self, parent: int | None, name: str, item: Mapping[str, Any]) -> None:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._own_open(handle, item)
        finally:
            os.close(handle)

    def _own_open(self, handle: int, item: Mapping[str, Any]) -> None:
        owner, group = self._numbers(item)
        for kind, number in (("owner", owner), ("group", group)):
            if item.get(kind) is not None and number is None:
                raise StateError(f"there is no {kind} {item[kind]}")
        os.fchown(handle, -1 if owner is None else owner, -1 if group is None else group)
        os.fchmod(handle, int(item["mode"], 8))

    def _numbers(self, item: Mapping[str, Any]) -> tuple[int | None, int | None]:
        owner, group = item.get("owner"), item.get("group")
        return owner and self.accounts.uid(owner), group and self.accounts.gid(group)

    def _wrong_rights(self, item: Mapping[str, Any], status: os.stat_result) -> list[str]:
        owner, group = self._numbers(item)
        wrong = []
        if item.get("owner") is not None and status.st_uid != owner:
            wrong.append("owner")
        if item.get("group") is not None and status.st_gid != group:
            wrong.append("group")
        if stat.S_IMODE(status.st_mode) != int(item["mode"], 8):
            wrong.append("mode")
        return wrong

    def _rights_text(self, item: Mapping[str, Any], status: os.stat_result | None) -> str:
        """Return owner, group and mode: as they are, or as they are wanted."""
        if status is None:
            rights = {key: item[key] for key in ("owner", "group", "mode") if item.get(key) is not None}
        else:
            rights = {
                "owner": _name(status.st_uid, lambda: pwd.getpwuid(status.st_uid).pw_name),
                "group": _name(status.st_gid, lambda: grp.getgrgid(status.st_gid).gr_name),
                "mode": f"{stat.S_IMODE(status.st_mode):04o}",
            }
        return "".join(f"{key}: {value}\n" for key, value in rights.items())

    def _differs(self, item: str, *what: str, before: str = "", after: str = "") -> None:
        self.changes.append(Change(item, what, before, after))


def _without(
    item: Mapping[str, Any], keeps: Sequence[str], status: os.stat_result, more: int
) -> Mapping[str, Any]:
    """Return an item that wants of an object what it has, as far as it keeps that, and more of its mode."""
    has = {"owner": None, "group": None, "mode": f"{stat.S_IMODE(status.st_mode) | more:04o}"}
    return {**item, **{key: has[key] for key in keeps}}


def _trusted(directory: int) -> bool:
    """Return whether only root, or who runs this, may put something into an open directory."""
    status = os.fstat(directory)
    own = status.st_uid in (0, os.geteuid())
    return own and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _stat(directory: int | None, name: str) -> os.stat_result | None:
    if directory is None:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _read(directory: int | None, name: str) -> bytes:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _with_block(text: bytes, block: bytes) -> bytes:
    """Insert the kit's own lines into a text, replacing the present ones, or at the end."""
    begin, end = (b"# %s ANSIBLE MANAGED BLOCK\n" % word for word in (b"BEGIN", b"END"))
    lines = text if text.endswith(b"\n") or not text else text + b"\n"
    before, there, rest = lines.partition(begin)
    after = rest.partition(end)[2] if there else b""
    return before + begin + block.rstrip(b"\n") + b"\n" + end + after


def _name(number: int, find: Callable[[], str]) -> str:
    try:
        return find()
    except KeyError:
        return str(number)


def _text(user: User | None) -> str:
    return "" if user is None else f"group: {user.group}\nhome: {user.home}\nshell: {user.shell}\n"


def _validate(path: Path, content: bytes, command: Sequence[str] | None) -> None:
    """Check a draft under the file's own name, which some checkers need."""
    if not command:
        return
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / path.name
        draft.write_bytes(content)
        try:
            _command(*command, str(draft))
        except StateError as error:
            raise StateError(f"{path} is not written: {error}") from error


def _command(*command: str) -> None:
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell
    if process.returncode != 0:
        raise StateError(f"{' '.join(command)}: {process.stderr.strip() or process.stdout.strip()}")
