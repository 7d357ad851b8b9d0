"""A broker's definitions in memory, imported and deleted as RabbitMQ does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fleet.broker.topology import topology

from support.fleet_model import LOADED

WANTED = topology(LOADED, {})
VHOST = WANTED["vhost"]
PASSWORDS = {user["name"]: f"password of {user['name']}" for user in WANTED["users"]}
SHA256 = "rabbit_password_hashing_sha256"
FRESH: dict[str, Any] = {
    "vhosts": [{"name": "/"}],
    "users": [
        {"name": "guest", "password_hash": "", "hashing_algorithm": SHA256, "tags": ["administrator"]},
        {"name": "other", "password_hash": "", "hashing_algorithm": SHA256, "tags": []},
    ],
    "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
}
NAMED = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("vhost", "user"),
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key"),
    "policies": ("vhost", "name"),
    "topic_permissions": ("vhost", "user", "exchange"),
    "global_parameters": ("name",),
}


class Definitions:
    """What a broker has."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMED} | deepcopy(
            definitions
        )

    def load(self, document: dict[str, Any]) -> None:
        for section, entries in document.items():
            held = {self._name(section, each): each for each in self.definitions[section]}
            for entry in entries:
                name = self._name(section, entry)
                # What exists of these stays as it is, without an error.
                if name in held and section in ("queues", "exchanges"):
                    continue
                held[name] = entry
            self.definitions[section] = list(held.values())

    def remove(self, key: tuple[str, ...]) -> None:
        section = "policies" if key[0] == "policy" else f"{key[0]}s"
        fields = NAMED[section][-len(key) + 1 :]

        def leads_there(binding: dict[str, Any]) -> bool:
            return key in (
                ("exchange", binding["source"]),
                (binding["destination_type"], binding["destination"]),
            )

        self.definitions["bindings"] = [
            each for each in self.definitions["bindings"] if not leads_there(each)
        ]
        self.definitions[section] = [
            each for each in self.definitions[section] if tuple(each[field] for field in fields) != key[1:]
        ]

    @staticmethod
    def _name(section: str, entry: dict[str, Any]) -> tuple[str, ...]:
        return tuple(entry[field] for field in NAMED[section])
