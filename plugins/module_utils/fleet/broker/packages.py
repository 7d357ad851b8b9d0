"""What apt would install on a broker's host: RabbitMQ and its Erlang."""

from __future__ import annotations

import re
from typing import Final

SERVER: Final = "rabbitmq-server"
# Every other package of Erlang depends on this one in its own version.
ERLANG: Final = "erlang-base"

# Of what apt-get says: `Inst rabbitmq-server [3.10.8-1.1] (4.0.5-8 …)`, or that there is nothing newer.
_INSTALLS = re.compile(r"^Inst (\S+) (?:\[[^\]]*\] )?\(([^ )]+)", re.MULTILINE)
_NEWEST = re.compile(r"^(\S+) is already the newest version \(([^)]+)\)", re.MULTILINE)


def planned(simulation: str, running: str, server: str = "") -> dict[str, str]:
    """Return which versions an upgrade would bring.

    Args:
        simulation: What ``apt-get --simulate install`` said in English.
        running: The version of RabbitMQ that runs.
        server: The version of the package of a source that apt has not read yet; empty if there is none.

    Returns:
        ``server``, empty if there is nothing to install, and ``erlang``, empty if it is not known.
    """
    installs, newest = dict(_INSTALLS.findall(simulation)), dict(_NEWEST.findall(simulation))
    if server:
        return {"server": "" if newest.get(SERVER) == server else server, "erlang": ""}
    # Erlang alone may have a newer version, which its node must be restarted for, too.
    found = installs.get(SERVER) or (running if ERLANG in installs else "")
    return {"server": found, "erlang": installs.get(ERLANG) or newest.get(ERLANG, "")}
