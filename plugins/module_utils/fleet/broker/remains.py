"""What keeps a former broker of the fleet from being stopped: messages, and whoever is connected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from ..model.names import VERIFY
from ..text import count
from .counts import Counts
from .stranded import is_celerys_own

# As whom the kit itself looks.
_KIT: Final = ("kit", "monitor")


@dataclass(frozen=True)
class Remains:
    """What is left at a broker.

    Attributes:
        queues: What queues hold or who has messages of theirs, in words; only those with any.
        uncounted: Queues that cannot be counted now, which is not the same as empty.
        connections: How many each user has from each address.
    """

    queues: Mapping[str, str]
    uncounted: tuple[str, ...]
    connections: Mapping[tuple[str, str], int]

    @property
    def sentences(self) -> list[str]:
        """All of it for a person; none if the broker may go."""
        return [
            *(f"{name}: {text}" for name, text in sorted(self.queues.items())),
            *(f"{name}: cannot be counted now: is its node up?" for name in self.uncounted),
            *(
                f"{user} is connected from {address} ({count(number, 'connection')})"
                for (user, address), number in sorted(self.connections.items())
            ),
        ]


def remains(
    held: Mapping[str, Counts | None], connections: Iterable[Mapping[str, Any]], vhost: str
) -> Remains:
    """Return what is left.

    Args:
        held: The counts of all queues by name; none of one that cannot be counted.
        connections: User, address and virtual host of each connection, as `rabbitmqctl list_connections` has
            them.
        vhost: The fleet's.

    Returns:
        What is left of the fleet; not answers to verifications, nor queues of Celery's remote control.
    """
    own = {name: each for name, each in held.items() if name != VERIFY and not is_celerys_own(name)}
    return Remains(
        {name: each.text for name, each in own.items() if each is not None and each.text},
        tuple(sorted(name for name, each in own.items() if each is None)),
        Counter(
            (str(each["user"]), _address(each["peer_host"]))
            for each in connections
            if each["vhost"] == vhost and each["user"] not in _KIT
        ),
    )


def _address(host: str | Sequence[int]) -> str:
    """Return an address, which `rabbitmqctl` gives as numbers: bytes of IPv4 or words of IPv6."""
    if isinstance(host, str):
        return host
    if len(host) == len(IPv4Address(0).packed):
        return str(IPv4Address(bytes(host)))
    address = IPv6Address(b"".join(word.to_bytes(2, "big") for word in host))
    return str(address.ipv4_mapped or address)
