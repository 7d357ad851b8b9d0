"""RabbitMQ's definitions as a state that can be compared, and the document that writes differences back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..host.names import FLEET
from .objects import POLICY_PREFIX
from .ownership import GUEST, OWNER, record, record_key, recorded
from .reconcile import Attributes, Difference, Key, State

_HASHES = {"rabbit_password_hashing_sha256": hashlib.sha256, "rabbit_password_hashing_sha512": hashlib.sha512}
_SALT_BYTES = 4

_MATCHES, _DIFFERS = "as declared", "another one"

# Celery's workers declare these themselves, at run time.
_CELERY_OWN = re.compile(r"celeryev|(.+\.)?celery\.pidbox")


def password_hash(password: str, salt: bytes) -> str:
    """Return a password as RabbitMQ stores it, by its default algorithm (SHA-256).

    Args:
        password: The password.
        salt: Four random bytes.

    Returns:
        Salt and digest in base 64.
    """
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def password_matches(password: str, user: Mapping[str, Any]) -> bool:
    """Return whether a password is the one that a user of the definitions has.

    Args:
        password: The password.
        user: An entry of `users`, with `password_hash` and `hashing_algorithm`.

    Returns:
        True if it is; False also if the user has none or an algorithm that isn't known here.
    """
    algorithm = _HASHES.get(user.get("hashing_algorithm", ""))
    if algorithm is None:
        return False
    stored = base64.b64decode(user.get("password_hash", ""))
    salt = stored[:_SALT_BYTES]
    return stored == salt + algorithm(salt + password.encode()).digest()


def desired_state(topology: Mapping[str, Any], current: State) -> State:
    """Return the topology of the model as a state.

    Args:
        topology: vhost, exchanges, queues, bindings, policies, users, permissions, topic_permissions.
        current: What the broker has, with its record of the fleet's objects that still exist.

    Returns:
        All objects by their keys.
    """
    vhost = topology["vhost"]
    state: State = {("vhost", vhost): {}}
    for user in topology["users"]:
        state["user", user["name"]] = _user({*user["tags"], OWNER}, _MATCHES, user["limits"])
    state |= _objects(topology)
    own = state.keys() | recorded(current, vhost)
    state[record_key(vhost)] = record(own, topology.get("fleet", FLEET), topology.get("secrets", ""))
    return state


def current_state(
    definitions: Mapping[str, Any], topology: Mapping[str, Any], passwords: Mapping[str, str]
) -> State:
    """Return a broker's objects, as far as they concern the topology.

    Args:
        definitions: What `GET /api/definitions` answered; empty for a broker that isn't there yet.
        topology: The desired topology: its vhost and users select what is compared.
        passwords: Password by user; a user's attribute `password` only says whether it matches.

    Returns:
        All objects of the vhost, the topology's users, `guest`, users that the kit made for this vhost
        alone, and the record of the fleet's objects, by their keys.
    """
    vhost = topology["vhost"]
    state: State = {}
    if any(each["name"] == vhost for each in definitions.get("vhosts", [])):
        state["vhost", vhost] = {}
    wanted_limits = {user["name"]: user["limits"] for user in topology["users"]}
    # Whom another broker's site lets in is its own business.
    topology_users = {*wanted_limits, *([GUEST[1]] if topology.get("managed", True) else [])}
    elsewhere = {each["user"] for each in definitions.get("permissions", []) if each["vhost"] != vhost}
    here = {each["user"] for each in definitions.get("permissions", []) if each["vhost"] == vhost}
    for user in definitions.get("users", []):
        name = user["name"]
        if name in topology_users or (OWNER in user["tags"] and name in here - elsewhere):
            limits = wanted_limits.get(name, {})
            matches = name in passwords and password_matches(passwords[name], user)
            state["user", name] = _user(
                user["tags"],
                _MATCHES if matches else _DIFFERS,
                # Others are a site's own: an import changes single limits, and removes none.
                {each: value for each, value in (user.get("limits") or {}).items() if each in limits},
            )
    for parameter in definitions.get("global_parameters", []):
        if ("global_parameter", parameter["name"]) == record_key(vhost):
            state[record_key(vhost)] = {
                section: names if isinstance(names, str) else sorted(names)
                for section, names in parameter["value"].items()
            }
    sections = ("permissions", "topic_permissions", "exchanges", "queues", "bindings", "policies")
    return state | _objects(
        {
            section: [each for each in definitions.get(section, []) if each.get("vhost") == vhost]
            for section in sections
        }
    )


def worth_listing(key: Key) -> bool:
    """Return whether an object that is left alone is listed.

    Args:
        key: The object's key.

    Returns:
        False for what goes with another object, and for what Celery declares by itself.
    """
    kind, name = key[:2]
    goes_with_another = (
        kind in ("binding", "topic_permission")
        or (kind, name) == ("permission", GUEST[1])
        or (kind == "policy" and name.startswith(POLICY_PREFIX))
    )
    return not goes_with_another and not _CELERY_OWN.fullmatch(name)


def import_document(
    differences: Iterable[Difference], vhost: str, passwords: Mapping[str, str], salt: Callable[[int], bytes]
) -> dict[str, list[Attributes]]:
    """Return the body of `POST /api/definitions` that creates or changes these objects and no others.

    Args:
        differences: Objects to create or to change.
        vhost: Where they belong.
        passwords: Password by user, for the users among them.
        salt: Returns that many random bytes.

    Returns:
        The objects by section.
    """
    document: dict[str, list[Attributes]] = {}
    for each in differences:
        kind, *names = each.key
        entry = dict(each.after or {})
        if kind == "vhost":
            entry["name"] = names[0]
        elif kind == "user":
            del entry["password"]
            entry |= {
                "name": names[0],
                "password_hash": password_hash(passwords[names[0]], salt(_SALT_BYTES)),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
            }
        elif kind == "global_parameter":
            entry = {"name": names[0], "value": entry}
        else:
            entry["vhost"] = vhost
            if kind == "permission":
                entry["user"] = names[0]
            elif kind == "topic_permission":
                entry |= {"user": names[0], "exchange": names[1]}
            elif kind == "binding":
                fields = ("source", "destination_type", "destination", "routing_key")
                entry |= dict(zip(fields, names, strict=False))
            else:
                entry["name"] = names[0]
        document.setdefault("policies" if kind == "policy" else f"{kind}s", []).append(entry)
    return document


def _user(tags: Iterable[str], password: str, limits: Mapping[str, int]) -> Attributes:
    return {"tags": sorted(tags), "password": password, "limits": dict(limits)}


def _objects(sections: Mapping[str, Any]) -> State:
    """Return all objects of a vhost by their keys; the names of the sections and fields are RabbitMQ's."""
    state: State = {}
    for each in sections["permissions"]:
        state["permission", each["user"]] = {name: each[name] for name in ("configure", "write", "read")}
    for each in sections.get("topic_permissions", ()):
        rights = {name: each[name] for name in ("write", "read")}
        state["topic_permission", each["user"], each["exchange"]] = rights
    for each in sections["exchanges"]:
        fields = ("type", "durable", "auto_delete", "arguments")
        # From 4.2.9 and 4.3.3 on the export leaves internal exchanges out, and the field with them.
        state["exchange", each["name"]] = {
            **{name: each[name] for name in fields},
            "internal": each.get("internal", False),
        }
    for each in sections["queues"]:
        # A queue without a type is a classic one, and from 4.0 the broker says so.
        state["queue", each["name"]] = {
            "durable": each["durable"],
            "auto_delete": each["auto_delete"],
            "arguments": {"x-queue-type": "classic"} | each["arguments"],
        }
    for each in sections["bindings"]:
        state[binding_key(each)] = {"arguments": each["arguments"]}
    for each in sections["policies"]:
        state["policy", each["name"]] = {
            "pattern": each["pattern"],
            "apply-to": each.get("apply-to") or each["apply_to"],
            "priority": each["priority"],
            "definition": each["definition"],
        }
    return state


def binding_key(binding: Mapping[str, Any]) -> Key:
    """Return a binding's key: it has no name, so all of it is the key, with its arguments if it has any."""
    fields = ("source", "destination_type", "destination", "routing_key")
    arguments = json.dumps(binding["arguments"], sort_keys=True) if binding["arguments"] else None
    return ("binding", *(binding[name] for name in fields), *([arguments] if arguments else []))
