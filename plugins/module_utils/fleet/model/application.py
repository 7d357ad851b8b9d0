"""What the application needs of its hosts beside the fleet: secrets, files, packages, places to write.

The specs of those fields of ``fleet_app``, and what must not hold between them.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from ..findings import nearest
from ..host import names
from .spec import Report, Spec, any_text, field, is_number, list_of, map_of, one_of, table_of, text_of
from .variables import TAKEN, taken

# Who reads a secret or a file beside the pools: `commands` are hooks, and what a person runs on a host.
SCHEDULER: Final = "scheduler"
CLIENTS: Final = "clients"
COMMANDS: Final = "commands"
READERS: Final = (SCHEDULER, CLIENTS, COMMANDS)
# In bytes: Linux's limit of one variable with its name, half of its limit of all variables and arguments, and
# systemd's limit of all credentials of a unit.
LONGEST_VARIABLE: Final = 128 * 1024 - 1
LARGEST_ENVIRONMENT: Final = 1024 * 1024
LARGEST_FILES: Final = 1024 * 1024

# What systemd takes for no text: surrogates, and the code points that Unicode gives no character.
NO_CHARACTER: Final = "\ud800-\udfff\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF)
)
_no_text: Final = re.compile(f"[\0{NO_CHARACTER}]")

# Names of variables that hold secrets, by their words; and texts that do.
_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|SECRETS?|TOKEN|CREDENTIALS?|DSN|(?:API)?KEY)$",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s@]*:[^/?#\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# A public key, or something that points to the secret.
_PUBLIC_NAME: Final = re.compile(r"(?:^|_)PUBLI(?:C|SHABLE)_?KEY$", re.IGNORECASE)
_PUBLIC_TEXT: Final = re.compile(r"(?:/.*|true|false|none)?", re.IGNORECASE)

variable: Final = text_of(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
_free_variable: Final = Spec(
    variable.legal, variable.test, {**variable.schema, "not": {"pattern": TAKEN}}, hidden=True
)
environment: Final = Spec(
    "a mapping of variables to texts or numbers",
    lambda v: isinstance(v, dict),
    {"type": "object"},
    names=_free_variable,
    each=field(
        "Value of the variable. Never shown in a plan or a finding.",
        Spec(
            "a text without line breaks, or a number",
            lambda v: is_number(v) or (isinstance(v, str) and not re.search(f"[\x00-\x1f{NO_CHARACTER}]", v)),
            {"type": ["string", "number"], "pattern": r"^[^\x00-\x1f]*$"},
            hidden=True,
        ),
    ),
    required=False,
    hidden=True,
)

_readers: Final = list_of(
    field(
        "A pool, `scheduler`, `clients`, or `commands` (hooks, and what a person runs).", any_text("a reader")
    ),
    "a list of at least one reader",
    required=False,
)
_content: Final = Spec(
    "a text that is not empty, or a number",
    lambda v: is_number(v) or (isinstance(v, str) and v != ""),
    {"type": ["string", "number"], "minLength": 1},
    hidden=True,
)
_encoding: Final = one_of("text", "base64", required=False)
SECRETS: Final = map_of(
    field(
        "A secret, under the name of an environment variable; its value alone is enough.",
        table_of(
            {
                "value": field("The secret itself, from Ansible's vault. Shown nowhere.", _content),
                "as": field(
                    "The variable holds the value, or the path of a file with it.",
                    one_of("variable", "file", required=False),
                ),
                "encoding": field("With `base64` the file holds what the value decodes to.", _encoding),
                "readers": field("Who gets it; without them every process of the application.", _readers),
            },
            hidden=True,
            short="value",
        ),
    ),
    "a mapping of variables to secrets",
    names=_free_variable,
    required=False,
    hidden=True,
)

_account: Final = text_of(r"[a-z_][a-z0-9_-]{0,31}", "the name of a user or a group", required=False)
_mode: Final = text_of(
    r"0[0-7]{2}[0145]",
    "four octal digits in quotes that let nobody else write, such as '0640'",
    required=False,
)
FILES: Final = map_of(
    field(
        "A file: on the host, or with a relative path in the release, where Python finds it.",
        table_of(
            {
                "content": field(
                    "Content of the file; or `source`.",
                    Spec(
                        "a text",
                        lambda v: isinstance(v, str),
                        {"type": "string"},
                        required=False,
                        hidden=True,
                    ),
                ),
                "source": field(
                    "Path on the controller of a file with the content.",
                    text_of(r"/[^\0]*[^/\0]", "an absolute path of a file on the controller", required=False),
                ),
                "encoding": field("With `base64` the file holds what the content decodes to.", _encoding),
                "secret": field(
                    "Whether no difference shows its content.",
                    Spec("true or false", lambda v: isinstance(v, bool), {"type": "boolean"}, required=False),
                ),
                "owner": field("Owner; without one root.", _account),
                "group": field("Group; without one that of the service.", _account),
                "mode": field("Mode; without one `0640`.", _mode),
                "readers": field("Who reads it; without them every process of the application.", _readers),
            },
            hidden=True,
        ),
    ),
    "a mapping of paths to files",
    names=any_text("a path"),
    required=False,
)

PACKAGES: Final = list_of(
    field(
        "Name of a package, perhaps with `=` and a version.",
        text_of(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~*-]+)?", "the name of a package of the distribution"),
    ),
    "a list of packages",
    required=False,
)
WRITABLE: Final = map_of(
    field(
        "A directory that tasks may write; one that is there keeps what is not given here.",
        table_of(
            {
                "owner": field("Owner; of a new one without it the service's user.", _account),
                "group": field("Group; of a new one without it that of the service.", _account),
                "mode": field(
                    "Mode; of a new one without it `0750`.",
                    text_of(r"[0-7]{4}", "four octal digits in quotes, such as '0750'", required=False),
                ),
            },
            nullable=True,
        ),
    ),
    "a mapping of paths to directories",
    names=any_text("a path"),
    required=False,
)
CERTIFICATES: Final = map_of(
    field(
        "Certificates of an authority (PEM) that the host and the application trust.",
        Spec(
            "certificates in PEM, and no key",
            lambda v: isinstance(v, str) and _is_certificate(v),
            {"type": "string", "pattern": "-----BEGIN CERTIFICATE-----"},
            hidden=True,
        ),
    ),
    "a mapping of names to certificates",
    names=text_of(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a name of letters, digits, '.', '-' and '_'"),
    required=False,
)
WORKING_DIRECTORY: Final = text_of(
    r"(?!.*(?:^|/)\.\.(?:/|$))[^\0\n]+",
    "a path in the application's source such as '.', or an absolute one, without '..'",
    required=False,
)

_name: Final = text_of(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name")
GROUPS: Final = list_of(field("Name of a group.", _name), "a list of the lock's groups", required=False)
EXTRAS: Final = list_of(field("Name of an extra.", _name), "a list of the project's extras", required=False)
SDISTS: Final = list_of(field("Name of a package.", _name), "a list of packages", required=False)
INDEXES: Final = list_of(
    field(
        "An index of packages.",
        table_of(
            {
                "url": field(
                    "Its address, as pip takes it.",
                    text_of(
                        r"https?://[^\s@/?#]+(/[^\s@?#]*)?",
                        "an address without a user, such as https://pypi.example.com/simple",
                        hidden=True,
                    ),
                ),
                "username": field("User that may read it.", text_of(r"[^\s:]+", "a name", required=False)),
                "password": field(
                    "Password or token of the user, from Ansible's vault. Shown nowhere.",
                    text_of(r"\S+", "a text without spaces", required=False, hidden=True),
                ),
            },
            hidden=True,
        ),
    ),
    "a list of indexes",
    required=False,
    hidden=True,
)

# Places that are the system's, that last no reboot, that no unit sees, and that are the kit's own.
_PLACES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr"),
        "is the system's",
    ),
    **dict.fromkeys(("/tmp", "/var/tmp"), "is another directory in every unit"),  # noqa: S108 - names, not files
    **dict.fromkeys(("/home", "/root"), "is hidden from the fleet's units"),
    **dict.fromkeys(map(str, (names.CONFIG, names.PROGRAM, names.UNITS)), "is the kit's own"),
    str(names.STATE): "is writable for tasks already, which make directories there themselves",
    "/run": "is empty after a boot",
}


def certificates_of(text: str) -> list[str]:
    """Return the certificates of a text, each in PEM."""
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)


def _is_certificate(text: str) -> bool:
    kinds = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----", text)
    try:
        found = [ssl.PEM_cert_to_DER_cert(block) for block in certificates_of(text)]
    except ValueError:
        return False
    return bool(found) and kinds == ["CERTIFICATE"] * len(found)


def gets(entry: Mapping[str, Any], reader: str) -> bool:
    """Return whether a reader gets a secret or a file.

    Args:
        entry: The secret or the file.
        reader: A pool, or one of ``READERS``.
    """
    return reader in entry.get("readers", (reader,))


def plain_secret(name: str, value: object) -> bool:
    """Return whether a variable of an environment looks like a secret.

    Args:
        name: Its name.
        value: Its value.
    """
    if not isinstance(value, str) or _PUBLIC_TEXT.fullmatch(value):
        return False
    named = _SECRET_NAME.search(name) and not _PUBLIC_NAME.search(name)
    return bool(named or shows_secret(value))


def shows_secret(text: str) -> bool:
    """Return whether a text holds a URL with a password, or a private key."""
    return _SECRET_TEXT.search(text) is not None


def check_application(app: Mapping[str, Any], pools: Iterable[str], report: Report) -> None:
    """Find what the application cannot have on its hosts.

    Args:
        app: The legal fields of ``fleet_app``.
        pools: Names of the pools.
        report: Takes what is wrong.
    """
    for name, (reason, remedy) in taken(app.get("secrets", {})).items():
        report("app/taken-variable", ("secrets", name), "(not shown)", reason, remedy)
    for part in ("secrets", "files"):
        for name, entry in app.get(part, {}).items():
            _check_readers((part, name), entry, [*pools, *READERS], report)
    for name, secret in app.get("secrets", {}).items():
        if why := _unfit(name, secret):
            report("app/unfit-secret", ("secrets", name), "(not shown)", *why)
    _check_sizes(app.get("secrets", {}), report)
    for path, file in app.get("files", {}).items():
        _check_file(path, file, app, report)
    for path in app.get("writable", {}):
        if why_not := _writable_refusal(path, app):
            report("app/bad-path", ("writable", path), path, why_not)
    directory = app.get("working_directory", "")
    if directory and (why_not := _working_refusal(directory, app)):
        report("app/bad-path", ("working_directory",), directory, why_not)


def _check_sizes(secrets: Mapping[str, Mapping[str, Any]], report: Report) -> None:
    """Find secrets that together are more than a process can be given."""
    given = {name: secret for name, secret in secrets.items() if _decodes(secret)}
    files = sum(len(content(secret)) for secret in given.values() if secret.get("as") == "file")
    variables = sum(len(content(secret)) for secret in given.values() if secret.get("as") != "file")
    for what, size, most, remedy in (
        ("files", files, LARGEST_FILES, "put the larger ones into fleet_app.files"),
        ("variables", variables, LARGEST_ENVIRONMENT, "hand the larger ones over as files"),
    ):
        if size > most:
            reason = f"the {what} together have more than {most} bytes"
            report("app/unfit-secret", ("secrets",), "(not shown)", reason, remedy)


def content(entry: Mapping[str, Any]) -> bytes:
    """Return the content of a secret or of a file that gives it.

    Args:
        entry: The secret or the file.

    Raises:
        ValueError: It is not what its encoding says.
    """
    text = str(entry["value"] if "value" in entry else entry["content"])
    return (
        base64.b64decode("".join(text.split()), validate=True)
        if entry.get("encoding") == "base64"
        else text.encode()
    )


def _decodes(entry: Mapping[str, Any]) -> bool:
    try:
        content(entry)
    except (ValueError, KeyError):
        return False
    return True


def _check_readers(path: tuple[str, ...], entry: Mapping[str, Any], known: list[str], report: Report) -> None:
    readers = entry.get("readers")
    if readers == []:
        report(
            "app/unknown-reader",
            (*path, "readers"),
            readers,
            "nobody would get it",
            "name a reader, or leave it out",
        )
    for reader in readers or ():
        if reader not in known:
            report(
                "app/unknown-reader",
                (*path, "readers"),
                reader,
                f"there is no such reader{nearest(reader, known)}",
                "name some of: " + ", ".join(known),
            )


def _unfit(name: str, secret: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a secret cannot be handed over, and what to do."""
    if secret.get("as") == "file":
        if not _decodes(secret):
            return "it is not what its encoding says", "give what `b64encode` made, or encoding: text"
        return None
    text = str(secret.get("value", ""))
    if secret.get("encoding") == "base64":
        return "a variable holds text, and no bytes", "say `as: file`, or leave out the encoding"
    if _no_text.search(text):
        return "it has characters that no variable can hold", "say `as: file` with encoding: base64"
    if len(f"{name}={text}".encode()) > LONGEST_VARIABLE:
        return f"it is longer than {LONGEST_VARIABLE} bytes, the limit of a variable", "say `as: file`"
    return None


def _check_file(path: str, file: Mapping[str, Any], app: Mapping[str, Any], report: Report) -> None:
    here = ("files", path)
    given = [key for key in ("content", "source") if key in file]
    if len(given) != 1:
        report(
            "app/file-content",
            here,
            given,
            f"it has {' and '.join(given) or 'neither'}",
            "give content or source",
        )
    if "content" in file and not _decodes(file):
        report(
            "app/file-content",
            here,
            "(not shown)",
            "it is not what its encoding says",
            "give what `b64encode` made",
        )
    if path.startswith("/"):
        if why_not := _refusal(path, app):
            report("app/bad-path", here, path, why_not)
        return
    if _not_normal(path):
        report("app/bad-path", here, path, "is not written plainly, or leaves the release")
    extra = [key for key in ("owner", "group", "mode", "readers") if key in file]
    if file.get("secret"):
        reason = "everybody on a host may read a release"
        report(
            "app/file-content",
            here,
            "(not shown)",
            reason,
            "give a path on the host, or make it a secret `as: file`",
        )
    elif extra:
        reason = f"a file of the release has no {' and no '.join(extra)} of its own"
        report("app/file-content", here, extra, reason, "leave it out, or give a path on the host")


def _not_normal(path: str) -> bool:
    parts = path.removeprefix("/").split("/")
    return any(part in ("", ".", "..") for part in parts) or not path.isprintable()


def _below(path: str, place: str | PurePosixPath) -> bool:
    return PurePosixPath(path).is_relative_to(place)


def _refusal(path: str, app: Mapping[str, Any]) -> str | None:
    """Return why nothing of the application may lie at a path."""
    if _not_normal(path):
        return "is not written plainly: no part of it may be empty, '.' or '..'"
    if _below(path, names.root_of(app.get("name", "?"))):
        return "is where the releases are"
    for place, why in _PLACES.items():
        if _below(path, place) and not _below(path, "/usr/local"):
            return f"{place} {why}"
    return _home_refusal(path)


def _home_refusal(path: str) -> str | None:
    """Return why a path may not lie in the home of a pool's user or of another one of the kit's."""
    return "is the home of one of the fleet's users" if path.startswith(f"{names.STATE}-") else None


def _writable_refusal(path: str, app: Mapping[str, Any]) -> str | None:
    """Return why tasks may not write a directory."""
    if not path.startswith("/"):
        return "is no absolute path"
    if len(PurePosixPath(path).parts) < 3 or _below(path, "/etc") or _below(path, "/usr"):
        return "holds more than the application's data"
    directory = app.get("working_directory", "")
    if directory.startswith("/") and (_below(path, directory) or _below(directory, path)):
        return f"workers import from the working directory {directory}, so no task may write there"
    return _refusal(path, app)


def _working_refusal(directory: str, app: Mapping[str, Any]) -> str | None:
    """Return why workers may not start in a directory, from which they import."""
    if not directory.startswith("/"):
        packaged = app.get("source", {}).get("type") == "package"
        return "a package has no source in which it could lie" if packaged else None
    if directory == "/":
        return None
    if _not_normal(directory):
        return "is not written plainly: no part of it may be empty, '.' or '..'"
    for place in ("/tmp", "/var/tmp", "/home", "/root", "/run", names.STATE):  # noqa: S108 - names, not files
        if _below(directory, place):
            return f"{place} {_PLACES[str(place)]}"
    return _home_refusal(directory)
