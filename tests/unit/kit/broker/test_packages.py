"""What an upgrade would bring, from what apt says about it."""

from __future__ import annotations

import pytest
from fleet.broker.packages import planned

NOTHING = """\
rabbitmq-server is already the newest version (4.0.5-8).
erlang-base is already the newest version (1:27.3.4.1+dfsg-1).
0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
"""
BOTH = """\
Inst erlang-base [1:27.3.4.1+dfsg-1] (1:27.3.4.14-1 Team RabbitMQ:trixie [amd64]) []
Inst erlang-crypto [1:27.3.4.1+dfsg-1] (1:27.3.4.14-1 Team RabbitMQ:trixie [amd64])
Inst rabbitmq-server [4.0.5-8] (4.2.9-1 Team RabbitMQ:trixie [all])
Conf erlang-base (1:27.3.4.14-1 Team RabbitMQ:trixie [amd64])
"""
SERVER = """\
erlang-base is already the newest version (1:27.3.4.1+dfsg-1).
Inst rabbitmq-server [4.0.5-8] (4.0.5-8+deb13u2 Debian:13.3/stable [all])
"""
ERLANG = """\
rabbitmq-server is already the newest version (4.0.5-8).
Inst erlang-base [1:27.3.4.1+dfsg-1] (1:27.3.4.1+dfsg-1+deb13u1 Debian-Security:13/stable-security [amd64]) []
"""


@pytest.mark.parametrize(
    ("simulation", "server", "erlang"),
    [
        (NOTHING, "", "1:27.3.4.1+dfsg-1"),
        (BOTH, "4.2.9-1", "1:27.3.4.14-1"),
        (SERVER, "4.0.5-8+deb13u2", "1:27.3.4.1+dfsg-1"),
        # The node must be restarted for it.
        (ERLANG, "4.0.5", "1:27.3.4.1+dfsg-1+deb13u1"),
        # A package of another version, and of no distribution.
        ("Inst rabbitmq-server [4.0.5-8] (4.0.5-8+newer localhost [all])\n", "4.0.5-8+newer", ""),
        ("", "", ""),
    ],
)
def test_versions_that_an_upgrade_brings(simulation, server, erlang):
    assert planned(simulation, "4.0.5") == {"server": server, "erlang": erlang}


def test_a_check_takes_the_version_of_a_source_that_apt_has_not_read():
    assert planned(NOTHING, "4.0.5", "4.2.9-1") == {"server": "4.2.9-1", "erlang": ""}
    assert planned(NOTHING, "4.0.5", "4.0.5-8") == {"server": "", "erlang": ""}
