"""Users of client hosts that publish tasks: legal names, of users that the hosts have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..findings import Findings
from ..model.fields import CLIENT_USERS
from ..model.host import Host
from ..model.spec import clean, reporter

VARIABLE: Final = "fleet_client_users"


def check(hosts: Iterable[Host], findings: Findings) -> None:
    """Check the users of every client.

    Args:
        hosts: The hosts of the group `clients`.
        findings: Receives what is wrong.
    """
    for host in hosts:
        if host.client_users is None:
            continue
        named = clean(host.client_users, CLIENT_USERS, (), reporter(findings, VARIABLE))
        if not isinstance(named, list) or not isinstance(host.accounts, list):
            continue
        for user in named:
            if user not in host.accounts:
                findings.add("clients/no-such-user", VARIABLE, user, where=host.name)
