"""What the processes of the application are given: secrets in the clear, and values that hide each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..findings import Findings
from ..model.application import gets, plain_secret, shows_secret
from ..model.types import Model, Pool

HIDDEN = "(not shown)"


def check_application(model: Model, findings: Findings) -> None:
    """Check the environment that every process of the application gets, and its files on the controller.

    Args:
        model: The fleet.
        findings: Receives what is wrong.
    """
    environment = model.app.get("environment", {})
    for name, value in environment.items():
        if plain_secret(name, value):
            findings.add("app/plain-secret", f"fleet_app.environment.{name}", HIDDEN)
    both = environment.keys() & model.app.get("secrets", {}).keys()
    for name in sorted(both):
        findings.add("app/secret-and-environment", f"fleet_app.secrets.{name}", HIDDEN)
    for path, file in model.app.get("files", {}).items():
        if not file.get("secret") and shows_secret(file.get("content", "")):
            remedy = (
                "say `secret: true` of it, which only a file on the host can be"
                if path.startswith("/")
                else None
            )
            reason = "its content stands in differences, and in a release for everybody on the host"
            findings.add("app/plain-secret", f"fleet_app.files.{path}", HIDDEN, reason, remedy)
        source = file.get("source")
        if path.startswith("/") and source is not None and not Path(source).is_file():
            reason = "the controller has no such file"
            findings.add("app/file-content", f"fleet_app.files.{path}.source", source, reason)


def check_pool(model: Model, pool: Pool, host: str | None, findings: Findings) -> None:
    """Check what a pool adds to that environment.

    Args:
        model: The fleet.
        pool: The pool, for the fleet or for a host.
        host: The host.
        findings: Receives what is wrong.
    """
    secrets: Mapping[str, Mapping[str, object]] = model.app.get("secrets", {})
    for name, value in pool.environment.items():
        variable = pool.variable("environment", name)
        where = host if variable.startswith("fleet_host_pools") else None
        if plain_secret(name, value):
            findings.add("app/plain-secret", variable, HIDDEN, where=where)
        if name in secrets and gets(secrets[name], pool.name):
            findings.add("app/secret-and-environment", variable, HIDDEN, where=where)
