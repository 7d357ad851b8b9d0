"""`fleet.json` of the repository's own model as the kit writes it, for a broker and secrets of a test."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from fleet.files.fleet_file import fleet_file

from support.fleet_model import LOADED

# With everything that a URL would misunderstand.
PASSWORD = "s3cret/with:odd@signs"


def document(
    secrets: str = "/nowhere",
    nodes: tuple[tuple[str, int], ...] = (("broker1.example", 5672),),
    vhost: str = "celery_fleet",
    prefix: str = "",
    ca_file: str | None = None,
    results: tuple[str, int] | None = None,
) -> dict[str, Any]:
    """Return the content of `fleet.json`.

    Args:
        secrets: Directory with the password of each user in the file of its name.
        nodes: Host and port of the broker's nodes.
        vhost: The virtual host.
        prefix: What the names of users begin with, at a broker that several fleets share.
        ca_file: File of the authorities; without one there is no TLS.
        results: Host and port of the server of results, which has TLS with `ca_file` too.
    """
    kept = {} if results is None else {"nodes": [results[0]], "port": results[1], "memory": 0.1}
    content: dict[str, Any] = deepcopy(fleet_file({**LOADED, "results": kept}))
    if results is not None:
        content["results"]["tls"] = None if ca_file is None else {"ca_file": ca_file}
        for side in ("worker", "client"):
            login = content["results"][side]
            login["password_file"] = f"{secrets}/{Path(login['password_file']).name}"
    content["broker"] |= {
        "nodes": [{"host": host, "port": port} for host, port in nodes],
        "vhost": vhost,
        "tls": None if ca_file is None else {"ca_file": ca_file},
    }
    parts = (content[name] for name in ("broker", "verify", "dead_letters"))
    for login in (*parts, *content["pools"].values()):
        login["password_file"] = f"{secrets}/{Path(login['password_file']).name}"
        login["user"] = f"{prefix}{login['user']}"
    return content
