"""Requirements files, read by pip's own parser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specification
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from .requirement import Repository, Requirement, has_credentials, normalized, without_credentials

_VCS: Final = ("git", "hg", "svn", "bzr")
_SUFFIXES: Final = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class UnreadableError(Exception):
    """A lock cannot be read; the message says where and why, without secrets."""


def absent(tool: str) -> str:
    """Return the sentence by which a controller is told that it has no such tool."""
    return f"the controller has no {tool} that can read it: install the kit's requirements/controller.txt"


@dataclass(frozen=True)
class Read:
    """What a lock says.

    Attributes:
        requirements: All of them, in its order.
        indexes: Addresses of the indexes that it names.
        requires_python: Specifier of the Pythons for which it was made; empty if it does not say.
        secrets: Where addresses with a user or password stand.
    """

    requirements: tuple[Requirement, ...]
    indexes: tuple[str, ...] = ()
    requires_python: str = ""
    secrets: tuple[str, ...] = ()


class _NoNetwork:
    """Stands for pip's session, with which it would read files from addresses."""

    def get(self, url: str, **_: object) -> None:
        raise UnreadableError(f"{without_credentials(url)} is an address: put the file beside this one")


def read_requirements(file: Path, root: Path, written_for: str = "") -> Read:
    """Read a requirements file, and what it includes.

    Args:
        file: The file.
        root: Directory of the application, which ``-e .`` means.
        written_for: The lock from which a tool wrote the file, with paths from the application's directory.

    Raises:
        UnreadableError: pip does not understand it.
    """
    # pip has no public parser, and nobody else's reads all that pip reads; its version is locked.
    try:
        from pip._internal.exceptions import PipError
        from pip._internal.req.req_file import RequirementsFileParser, get_line_parser
    except ImportError as error:
        raise UnreadableError(absent("pip")) from error

    # Of a session the parser uses the reading of addresses only.
    parser = RequirementsFileParser(_NoNetwork(), get_line_parser(None))  # type: ignore[arg-type]
    found: list[Requirement] = []
    constraints: list[Requirement] = []
    indexes: list[str] = []
    secrets: list[str] = []
    try:
        for line in parser.parse(str(file), constraint=False):
            where = written_for or f"{_shown(Path(line.filename), root)}:{line.lineno}"
            addresses = list(_indexes(line.opts))
            given = getattr(line, "requirement", None)  # which pip before 25 gives to requirements only
            secrets += [where] * any(map(has_credentials, [*addresses, given or ""]))
            indexes += map(without_credentials, addresses)
            if given is None:
                continue
            requirement = _requirement(given, root if written_for else Path(line.filename).parent, root)
            if requirement is not None:
                pinned = getattr(line.opts, "hashes", None) or {}
                hashes = tuple(f"{kind}:{digest}" for kind, digests in pinned.items() for digest in digests)
                (constraints if line.constraint else found).append(
                    replace(requirement, hashes=requirement.hashes + hashes, where=where)
                )
    except (PipError, UnicodeDecodeError, InvalidRequirement) as error:
        raise UnreadableError(without_credentials(str(error)).replace(f"{root}/", "")) from error
    return Read(tuple(_pinned(found, constraints)), tuple(dict.fromkeys(indexes)), secrets=tuple(secrets))


def _shown(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _indexes(options: Any) -> Iterator[str]:  # noqa: ANN401 - pip's options have no type
    if options.index_url:
        yield options.index_url
    yield from options.extra_index_urls or ()
    yield from (link for link in options.find_links or () if "://" in link)


def _requirement(text: str, beside: Path, root: Path) -> Requirement | None:
    """Read one requirement; none if it is the application itself.

    Raises:
        UnreadableError: It has no name by which it can be installed.
        InvalidRequirement: It is none.
    """
    if _is_same(beside / text.split("[")[0], root):
        return None
    if "://" not in text and (text.startswith((".", "/")) or text.lower().endswith(_SUFFIXES)):
        return _from_path(text, beside)
    try:
        parsed = Specification(text)
    except InvalidRequirement:
        if "://" not in text:
            raise
        return _from_address(text, *_named(text))
    pins = [spec.version for spec in parsed.specifier if spec.operator in ("==", "===")]
    found = Requirement(
        normalized(parsed.name),
        pins[0] if len(pins) == len(parsed.specifier) == 1 and not pins[0].endswith("*") else "",
        str(parsed.marker or ""),
        extras=tuple(sorted(parsed.extras)),
    )
    if not parsed.url:
        return found
    return replace(_from_address(parsed.url, found.name), marker=found.marker, extras=found.extras)


def _is_same(path: Path, root: Path) -> bool:
    return path.is_dir() and path.resolve() == root.resolve()


def _named(address: str) -> tuple[str, str]:
    """Return the name of what lies at an address, and the marker behind it."""
    address, _, marker = address.partition(" ; ")
    fragment = parse_qs(urlsplit(address).fragment)
    return re.split(r"[\[-]?\[", fragment.get("egg", [""])[0])[0], marker.strip()


def _from_address(address: str, name: str, marker: str = "") -> Requirement:
    """Return what is installed from an address.

    Raises:
        UnreadableError: The address does not say its name.
    """
    parts = urlsplit(address.partition(" ; ")[0])
    fragment = parse_qs(parts.fragment)
    kind, plus, scheme = parts.scheme.rpartition("+")
    bare = without_credentials(urlunsplit(parts._replace(scheme=scheme, fragment="")))
    if plus and kind in _VCS:
        if not name:
            raise UnreadableError(f"{kind}+{bare} has no name: write `name @ {kind}+{bare}`")
        _, at, revision = parts.path.rpartition("@")
        place = bare.removesuffix(f"@{revision}") if at else bare
        revision = revision if at else ""
        repository = Repository(kind, place, revision, fragment.get("subdirectory", [""])[0])
        return Requirement(normalized(name), marker=marker, repository=repository, wheels=())
    if scheme == "file":
        return (
            replace(_from_path(parts.path, Path("/")), name=normalized(name), marker=marker)
            if name
            else _from_path(parts.path, Path("/"))
        )
    file = parts.path.rsplit("/", 1)[-1]
    hashes = tuple(
        f"{kind}:{fragment[kind][0]}" for kind in ("sha256", "sha384", "sha512") if kind in fragment
    )
    name, version = (name, "") if name else _of_file(file)
    return Requirement(
        normalized(name), version, marker, hashes, url=bare, wheels=(file,) if file.endswith(".whl") else ()
    )


def _from_path(text: str, beside: Path) -> Requirement:
    path = (beside / text.split(" ; ")[0].split("[")[0]).resolve()
    name = _of_file(path.name)[0] if path.name.endswith(_SUFFIXES) else path.name
    return Requirement(normalized(name), path=str(path), wheels=(path.name,) if path.suffix == ".whl" else ())


def _of_file(name: str) -> tuple[str, str]:
    """Return the name and version of an archive.

    Raises:
        UnreadableError: It is not called as archives of packages are.
    """
    try:
        parsed = parse_wheel_filename(name) if name.endswith(".whl") else parse_sdist_filename(name)
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise UnreadableError(f"{name} does not say its package: write `name @ address`") from error
    return parsed[0], str(parsed[1])


def _pinned(found: Iterable[Requirement], constraints: Iterable[Requirement]) -> Iterator[Requirement]:
    """Return requirements with the versions and hashes that constraints give them."""
    by_name = {constraint.name: constraint for constraint in constraints}
    for requirement in found:
        by = by_name.get(requirement.name)
        if by is not None and not (requirement.version or requirement.url or requirement.repository):
            requirement = replace(
                by,
                marker=requirement.marker or by.marker,
                extras=requirement.extras,
                where=requirement.where,
            )
        elif by is not None and by.version == requirement.version and not requirement.hashes:
            requirement = replace(requirement, hashes=by.hashes)
        yield requirement
