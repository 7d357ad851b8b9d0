"""What a host has of the application beside its release: secrets, files, and directories that tasks write.

A reader is a pool, or one of ``model.application.READERS``. What it gets as variables is in one file, which
systemd reads for its unit; each of its files is a credential of that unit. Only root can read either, so that
no process sees what is another reader's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ..host import names
from ..host.application import SUFFIX, write_variables
from ..model.application import CLIENTS, COMMANDS, SCHEDULER, certificates_of, content, gets
from ..model.host import read_host
from ..model.plain import plain
from ..model.pools import effective_pools
from ..model.read import read_model
from ..source.read import PREFIX

# Where Debian keeps the certificates of all authorities; some libraries of Python bring their own instead.
TRUSTED: Final = "/etc/ssl/certs/ca-certificates.crt"
TRUST_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
CERTIFICATES: Final = "/usr/local/share/ca-certificates"


def process_environment(raw_app: object) -> dict[str, str]:
    """Return the environment of every process of the application, without its secrets.

    Args:
        raw_app: The mapping ``fleet_app``.
    """
    app = plain(raw_app)
    trusted = dict.fromkeys(TRUST_VARIABLES, TRUSTED) if app.get("ca_certificates") else {}
    return trusted | {name: str(value) for name, value in (app.get("environment") or {}).items()}


def secret_forms(raw_app: object) -> dict[str, dict[str, Any]]:
    """Return the application's secrets without their values: how each is handed over, and to whom.

    Args:
        raw_app: The mapping ``fleet_app``.
    """
    secrets = plain(raw_app).get("secrets") or {}
    forms = ((name, secret if isinstance(secret, dict) else {}) for name, secret in secrets.items())
    return {name: {key: form[key] for key in ("as", "readers") if key in form} for name, form in forms}


def environment_lines(
    app: Mapping[str, Any], reader: str, more: Mapping[str, object] | None = None
) -> list[str]:
    """Return the lines of a unit that give a process of the application its environment.

    Args:
        app: Its ``environment``, and its ``secrets`` as ``secret_forms`` returns them.
        reader: Whose process it is.
        more: Further variables, which win over those of the application.

    Returns:
        Settings of the section ``[Service]``, in a form that a unit's file expands.
    """
    variables = {**plain(app["environment"]), **(plain(more) or {})}
    own = {name: form for name, form in plain(app["secrets"]).items() if gets(form, reader)}
    as_files = sorted(name for name, form in own.items() if form.get("as") == "file")
    # systemd reads quotes and escapes as JSON does, but no pairs of surrogates.
    lines = [
        "Environment=" + json.dumps(f"{name}={value}", ensure_ascii=False).replace("%", "%%")
        for name, value in sorted(variables.items())
    ]
    lines.append(f"EnvironmentFile={names.APPLICATION}/{reader}{SUFFIX}")
    for name in as_files:
        # An empty line instead of a file that is gone: a release that still reads it can be rolled back to.
        lines += [
            f"LoadCredential={name}:{names.APPLICATION}/{reader}-{name}",
            f"SetCredential={name}:\\n",
            f"Environment={name}=%d/{name}",
        ]
    return lines


def release_files(raw_app: object) -> dict[str, dict[str, Any]]:
    """Return the files that lie in the release, where Python finds them.

    Args:
        raw_app: The mapping ``fleet_app``.
    """
    files = plain(raw_app).get("files") or {}
    return {path: file for path, file in files.items() if not path.startswith("/")}


def working_directory(app: Mapping[str, Any], release: str) -> str:
    """Return the directory in which processes of a release start.

    Args:
        app: The mapping ``fleet_app``, or its ``working_directory``.
        release: Directory of the release.
    """
    own = app.get("working_directory")
    return str(PurePosixPath(release, PREFIX, own)) if own else release


def application_digests(raw_model: object, key: str) -> dict[str, str]:
    """Return for each reader a digest of the secrets and files that it gets; with another one it is replaced.

    Args:
        raw_model: The mapping ``fleet_model``.
        key: A secret of the site, without which nobody finds a value by trying.

    Returns:
        Digests by reader; none of one that gets nothing.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    findings.refuse()
    digests = {}
    for reader in (*model.pools, SCHEDULER):
        own = [
            [part, name, {**entry, "readers": None}, _source(entry).hex()]
            for part in ("secrets", "files")
            for name, entry in sorted(model.app.get(part, {}).items())
            if gets(entry, reader)
        ]
        # A file of the release is part of its name.
        own = [item for item in own if item[0] == "secrets" or item[1].startswith("/")]
        text = json.dumps([own, model.app.get("ca_certificates", {})], sort_keys=True)
        if own or model.app.get("ca_certificates"):
            digests[reader] = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]
    return digests


def application_state(
    raw_model: object, host: object = None, *, schedules: bool = False, serves: bool = False
) -> dict[str, Any]:
    """Return what a host must have, for the module `host_state`.

    Args:
        raw_model: The mapping ``fleet_model``.
        host: What ``read_host`` takes.
        schedules: Whether the scheduler may run on it.
        serves: Whether processes of the site publish tasks there.

    Returns:
        ``items``, and ``secrets`` with the contents that nothing may show, in base64.

    Raises:
        ModelError: If the model is at fault; with all findings.
    """
    model, findings = read_model(raw_model)
    pools = effective_pools(model, read_host(host), findings)
    findings.refuse()
    readers = [*pools, COMMANDS, *([SCHEDULER] if schedules else ()), *([CLIENTS] if serves else ())]
    items: list[dict[str, Any]] = []
    secrets: dict[str, str] = {}
    for item, data in [*_secrets(model.app, readers), *_files(model.app, readers, pools)]:
        if data is not None:
            item["encoding"] = "base64"
            item["secret"] = item["file"].removeprefix("/")
            secrets[item["secret"]] = base64.b64encode(data).decode()
        items.append(item)
    return {"items": items, "secrets": secrets}


Item = tuple[dict[str, Any], bytes | None]


def _secrets(app: Mapping[str, Any], readers: Sequence[str]) -> Iterator[Item]:
    """Yield the directory of the application's secrets with all that is in it, and nothing else."""
    root: dict[str, str] = {"owner": "root", "group": "root"}
    yield {"directory": str(names.APPLICATION), "mode": "0700", "exact": True, **root}, None
    environment = process_environment(app)
    for reader in readers:
        own = {name: secret for name, secret in app.get("secrets", {}).items() if gets(secret, reader)}
        as_files = {name: content(secret) for name, secret in own.items() if secret.get("as") == "file"}
        variables = {name: secret["value"] for name, secret in own.items() if name not in as_files}
        # Its processes have no unit of the kit.
        variables = environment | variables if reader == CLIENTS else variables
        # Without variables too, since units name it: also one to which a rollback goes back.
        path = f"{names.APPLICATION}/{reader}{SUFFIX}"
        yield {"file": path, "mode": "0600", **root}, write_variables(variables).encode()
        for name, data in as_files.items():
            yield {"file": f"{names.APPLICATION}/{reader}-{name}", "mode": "0600", **root}, data


def _files(app: Mapping[str, Any], readers: Sequence[str], pools: Iterable[str]) -> Iterator[Item]:
    """Yield the files of the application on a host, those that it has no longer, and its directories."""
    writers = [names.USER, *map(names.user_of, pools)]
    files = {
        path: file
        for path, file in app.get("files", {}).items()
        if path.startswith("/") and any(gets(file, reader) for reader in readers)
    }
    certificates = dict(_certificates(app))
    yield {"record": str(names.FILES_RECORD), "paths": sorted([*files, *certificates])}, None
    for path, file in files.items():
        rights = {"owner": file.get("owner", "root"), "group": file.get("group", names.USER)}
        item: dict[str, Any] = {"file": path, "parents": True, "mode": file.get("mode", "0640"), **rights}
        data = None
        if "source" in file:
            # The controller reads it when it hands the items to the host.
            item["source"] = file["source"]
            if file.get("secret"):
                item["secret"] = path.removeprefix("/")
        elif file.get("secret") or file.get("encoding") == "base64":
            data = content(file)
        else:
            item["content"] = file["content"]
        yield item, data
    for path, text in certificates.items():
        rights = {"owner": "root", "group": "root", "mode": "0644"}
        yield {"file": path, "parents": True, "content": f"{text}\n", **rights}, None
    for path, about in app.get("writable", {}).items():
        given = about or {}
        yield (
            {
                "directory": path,
                "owner": given.get("owner", names.USER),
                "group": given.get("group", names.USER),
                "mode": given.get("mode", "0770"),
                # What a site says nothing of stays as it is, where the directory is there.
                "keeps": [key for key in ("owner", "group", "mode") if key not in given],
                "shared": names.USER,
                "writers": writers,
            },
            None,
        )


def _certificates(app: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the path and content of each authority's certificate; the host takes one in a file only."""
    for name, text in app.get("ca_certificates", {}).items():
        for number, certificate in enumerate(certificates_of(text), 1):
            which = f"-{number}" if number > 1 else ""
            yield f"{CERTIFICATES}/{app['name']}-{name}{which}.crt", certificate


def _source(entry: Mapping[str, Any]) -> bytes:
    """Return the content of a file on the controller, as it is there; nothing if there is none."""
    path = Path(entry.get("source", "/"))
    return path.read_bytes() if path.is_file() else b""
