"""RabbitMQ's definitions: read them as a state, and write a plan back.

`GET /api/definitions` holds everything but exclusive queues, which belong to one connection and are nobody
else's business. `POST /api/definitions` creates what is missing and overwrites users, permissions, policies
and parameters, but silently leaves a queue or an exchange that exists as it is: these kinds are fixed.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from html import unescape
from typing import Any, Final
from urllib.parse import quote, urlsplit

from .ownership import GUEST, OWNER, record, record_key, recorded
from .reconcile import Attributes, Difference, Key, State
from .topology import POLICY_PREFIX

_HASHES = {"rabbit_password_hashing_sha256": hashlib.sha256, "rabbit_password_hashing_sha512": hashlib.sha512}
_SALT_BYTES = 4
_GIVEN, _DIFFERS = "as given", "another one"
# Celery's workers declare these themselves, at run time.
_CELERY_OWN = re.compile(r"celeryev|(.+\.)?celery\.pidbox")
# RabbitMQ closes a connection that was idle for five seconds.
_KEPT_ALIVE_S: Final = 3
_ALARMS: Final = {
    "mem_alarm": "memory alarm: it takes no messages until its consumers have freed memory.",
    "disk_free_alarm": "disk alarm: it takes no messages until more disk space is free.",
}
_PATHS: Final = {
    "global_parameter": "/api/global-parameters/{name}",
    "user": "/api/users/{name}",
    "permission": "/api/permissions/{vhost}/{name}",
    "topic_permission": "/api/topic-permissions/{vhost}/{name}",
    "policy": "/api/policies/{vhost}/{name}",
    "queue": "/api/queues/{vhost}/{name}",
    "exchange": "/api/exchanges/{vhost}/{name}",
}


class BrokerError(Exception):
    """The broker can't be reached, or refused what it was asked."""


class RefusedError(BrokerError):
    """The broker was reached and refused one request.

    Attributes:
        status: Its answer, as HTTP numbers it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def password_hash(password: str, salt: bytes) -> str:
    """A password as RabbitMQ stores it, by its default algorithm (SHA-256).

    Args:
        password: The password.
        salt: Four random bytes.

    Returns:
        Salt and digest in base 64.
    """
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def password_matches(password: str, user: Mapping[str, Any]) -> bool:
    """Whether a password is the one that a user of the definitions has.

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
    """The topology of the model as a state.

    Args:
        topology: vhost, exchanges, queues, bindings, policies, users, permissions, topic_permissions.
        current: What the broker has, because it remembers what was ours as long as that exists.

    Returns:
        All objects by their keys.
    """
    vhost = topology["vhost"]
    state: State = {("vhost", vhost): {}}
    for user in topology["users"]:
        state["user", user["name"]] = _user({*user["tags"], OWNER}, _GIVEN)
    state |= _objects(topology)
    state[record_key(vhost)] = record(state.keys() | recorded(current, vhost))
    return state


def current_state(
    definitions: Mapping[str, Any], topology: Mapping[str, Any], passwords: Mapping[str, str]
) -> State:
    """What a broker has, as far as it concerns the topology.

    Args:
        definitions: What `GET /api/definitions` answered; empty for a broker that isn't there yet.
        topology: The topology that the model wants: its vhost and users select what is looked at.
        passwords: Password by user; a user's attribute `password` only says whether it matches.

    Returns:
        All objects of the vhost, the topology's users, `guest`, users that the kit made for this vhost
        alone, and the record of what is ours, by their keys.
    """
    vhost = topology["vhost"]
    state: State = {}
    if any(each["name"] == vhost for each in definitions.get("vhosts", [])):
        state["vhost", vhost] = {}
    known = {user["name"] for user in topology["users"]} | {GUEST[1]}
    elsewhere = {each["user"] for each in definitions.get("permissions", []) if each["vhost"] != vhost}
    here = {each["user"] for each in definitions.get("permissions", []) if each["vhost"] == vhost}
    for user in definitions.get("users", []):
        name = user["name"]
        if name in known or (OWNER in user["tags"] and name in here - elsewhere):
            matches = name in passwords and password_matches(passwords[name], user)
            state["user", name] = _user(user["tags"], _GIVEN if matches else _DIFFERS)
    for parameter in definitions.get("global_parameters", []):
        if ("global_parameter", parameter["name"]) == record_key(vhost):
            state[record_key(vhost)] = {
                section: sorted(names) for section, names in parameter["value"].items()
            }
    sections = ("permissions", "topic_permissions", "exchanges", "queues", "bindings", "policies")
    return state | _objects(
        {
            section: [each for each in definitions.get(section, []) if each.get("vhost") == vhost]
            for section in sections
        }
    )


def worth_listing(key: Key) -> bool:
    """Whether an object that is left alone should be told of.

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
    """The body of `POST /api/definitions` that creates or changes these objects and no others.

    Args:
        differences: Objects to create or to change.
        vhost: Where they belong.
        passwords: Password by user, for the users among them.
        salt: Gives that many random bytes.

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


class Management:
    """RabbitMQ's management API over one connection.

    Attributes:
        requests: How many requests were made.
    """

    def __init__(self, url: str, user: str, password: str, timeout: float = 30) -> None:
        """Remember where and as whom; connects with the first request.

        Args:
            url: For example `http://127.0.0.1:15672`.
            user: A user with the tag `administrator`.
            password: Its password.
            timeout: Seconds that one request may take.
        """
        parts = urlsplit(url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connect(parts.netloc, timeout=timeout)
        self._url, self._user, self._timeout = url, user, timeout
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self.requests = 0
        self._last = time.monotonic()

    def definitions(self) -> dict[str, Any]:
        """Everything that the broker has.

        Returns:
            The definitions of all vhosts.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        return dict(self._request("GET", "/api/definitions"))

    def set_policy(self, vhost: str, name: str, policy: Mapping[str, Any]) -> None:
        """Create or change a policy.

        Args:
            vhost: Where.
            name: Its name.
            policy: Its attributes, with the names of RabbitMQ's definitions.

        Raises:
            BrokerError: The broker can't be reached or refuses it.
        """
        self._request("PUT", f"/api/policies/{_quoted(vhost)}/{_quoted(name)}", policy)

    def policy_in_force(self, vhost: str, exchange: str) -> str | None:
        """The policy that applies to an exchange.

        Args:
            vhost: Where it is.
            exchange: Its name.

        Returns:
            The policy's name; None if there is none.

        Raises:
            BrokerError: The broker can't be reached, or there is no such exchange.
        """
        found = self._request("GET", f"/api/exchanges/{_quoted(vhost)}/{_quoted(exchange)}?columns=policy")
        return found.get("policy") or None

    def set_parameter(self, name: str, value: Mapping[str, Any]) -> None:
        """Create or change a global parameter.

        Args:
            name: Its name.
            value: Its value.

        Raises:
            BrokerError: The broker can't be reached or refuses it.
        """
        path = f"/api/global-parameters/{_quoted(name)}"
        self._request("PUT", path, {"name": name, "value": value})

    def load(self, document: Mapping[str, Any]) -> None:
        """Create and change objects, in one request.

        Args:
            document: The objects by section.

        Raises:
            BrokerError: The broker can't be reached or refuses the user or one of the objects.
        """
        self._request("POST", "/api/definitions", document)

    def obstacles(self) -> list[str]:
        """What keeps the nodes of the cluster from working as they should.

        Returns:
            One sentence for each node that is down and for each alarm.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        found = []
        for node in self._request("GET", "/api/nodes?columns=name,running,mem_alarm,disk_free_alarm"):
            if not node.get("running"):
                found.append(f"Node {node['name']} is down.")
            for alarm, text in _ALARMS.items():
                if node.get(alarm):
                    found.append(f"Node {node['name']} has raised its {text}")
        return found

    def queues_in_use(self, vhost: str, names: Collection[str]) -> dict[str, str]:
        """Which of some queues hold messages or are consumed; the figures are up to five seconds old.

        Args:
            vhost: Where they are.
            names: The queues that are asked for.

        Returns:
            Messages and consumers in words by name; a queue that is empty and unused is left out.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        fields = {"messages_ready": "ready", "messages_unacknowledged": "unacknowledged"}
        columns = ",".join(["name", "consumers", *fields])
        told = {}
        for queue in self._request("GET", f"/api/queues/{_quoted(vhost)}?columns={columns}"):
            parts = [
                _count(queue[field], f"{text} message") for field, text in fields.items() if queue.get(field)
            ]
            if queue.get("consumers"):
                parts.append(_count(queue["consumers"], "consumer"))
            # A queue whose node is down has no figures, which is not the same as empty.
            if queue["name"] in names and (parts or not fields.keys() <= queue.keys()):
                told[queue["name"]] = ", ".join(parts) or "its messages can't be counted now"
        return told

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """How all queues of a vhost are; the figures are up to five seconds old.

        Args:
            vhost: Where they are.

        Returns:
            For each its name and, as far as they are known, messages, consumers and rates.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        columns = (
            "name,messages_ready,messages_unacknowledged,consumers,head_message_timestamp,"
            "message_stats.publish_details.rate,message_stats.ack_details.rate"
        )
        return list(self._request("GET", f"/api/queues/{_quoted(vhost)}?columns={columns}"))

    def queue_figures(self, vhost: str, name: str) -> dict[str, Any]:
        """Type and unacknowledged messages of a queue; the figures are up to five seconds old.

        Args:
            vhost: Where it is.
            name: Its name.

        Returns:
            `type` and `messages_unacknowledged`.

        Raises:
            BrokerError: The broker can't be reached, or there is no such queue.
        """
        path = f"/api/queues/{_quoted(vhost)}/{_quoted(name)}?columns=type,messages_unacknowledged"
        # A queue that was made a moment ago has no figures yet, and nobody has anything of it.
        return {"messages_unacknowledged": 0} | dict(self._request("GET", path))

    def remove_if_there(self, key: Key, vhost: str) -> None:
        """Remove an object that may be gone already.

        Args:
            key: Its key.
            vhost: Where it is.

        Raises:
            BrokerError: The broker can't be reached or refuses it.
        """
        try:
            self.remove(key, vhost)
        except RefusedError as refusal:
            if refusal.status != http.client.NOT_FOUND:
                raise

    def remove(self, key: Key, vhost: str, conditions: str = "") -> None:
        """Remove an object.

        Args:
            key: Its key. All topic permissions of a user in the vhost go together.
            vhost: Where it is.
            conditions: Under which the broker does it, such as `if-empty=true`.

        Raises:
            RefusedError: The broker refuses it.
            BrokerError: The broker can't be reached.
        """
        kind, name = key[:2]
        path = _PATHS[kind].format(vhost=_quoted(vhost), name=_quoted(name)) if kind in _PATHS else ""
        if path:
            self._request("DELETE", f"{path}?{conditions}" if conditions else path)
        else:
            _, source, to, destination, *_ = key
            path = "/".join(
                ("/api/bindings", _quoted(vhost), "e", _quoted(source), to[0], _quoted(destination))
            )
            # The name of a binding with arguments holds a digest that only the broker computes.
            for binding in self._request("GET", path):
                if _binding_key(binding) == key:
                    self._request("DELETE", f"{path}/{_quoted(binding['properties_key'])}")

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        self.requests += 1
        if time.monotonic() - self._last > _KEPT_ALIVE_S:
            self._connection.close()
        try:
            self._connection.request(
                method, path, None if body is None else json.dumps(body), headers=self._headers
            )
            response = self._connection.getresponse()
            answer = response.read()
            self._last = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise BrokerError(
                f"RabbitMQ's management API at {self._url} gave no answer to {method} {path} within "
                f"{self._timeout:g} s ({error or type(error).__name__}). Is the node up and its plugin "
                "rabbitmq_management enabled?"
            ) from error
        if response.status == http.client.UNAUTHORIZED:
            raise BrokerError(
                f"RabbitMQ at {self._url} refused user {self._user} (401): the password is wrong, or the "
                "user lacks the tag administrator."
            )
        if response.status >= http.client.BAD_REQUEST:
            raise RefusedError(
                f"RabbitMQ at {self._url} refused {method} {path} ({response.status}): {_reason(answer)}",
                response.status,
            )
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise BrokerError(
                f"What answers at {self._url} to {method} {path} is not RabbitMQ's management API."
            ) from error


def _user(tags: Iterable[str], password: str) -> Attributes:
    return {"tags": sorted(tags), "password": password}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _objects(sections: Mapping[str, Any]) -> State:
    """Everything that a vhost holds, by its keys; the names of the sections and fields are RabbitMQ's."""
    state: State = {}
    for each in sections["permissions"]:
        state["permission", each["user"]] = {name: each[name] for name in ("configure", "write", "read")}
    for each in sections.get("topic_permissions", ()):
        rights = {name: each[name] for name in ("write", "read")}
        state["topic_permission", each["user"], each["exchange"]] = rights
    for each in sections["exchanges"]:
        fields = ("type", "durable", "auto_delete", "internal", "arguments")
        state["exchange", each["name"]] = {name: each[name] for name in fields}
    for each in sections["queues"]:
        # A queue without a type is a classic one, and from 4.0 the broker says so.
        state["queue", each["name"]] = {
            "durable": each["durable"],
            "auto_delete": each["auto_delete"],
            "arguments": {"x-queue-type": "classic"} | each["arguments"],
        }
    for each in sections["bindings"]:
        state[_binding_key(each)] = {"arguments": each["arguments"]}
    for each in sections["policies"]:
        state["policy", each["name"]] = {
            "pattern": each["pattern"],
            "apply-to": each.get("apply-to") or each["apply_to"],
            "priority": each["priority"],
            "definition": each["definition"],
        }
    return state


def _binding_key(binding: Mapping[str, Any]) -> Key:
    """A binding has no name: everything in it names it, and its arguments too if it has any."""
    fields = ("source", "destination_type", "destination", "routing_key")
    arguments = json.dumps(binding["arguments"], sort_keys=True) if binding["arguments"] else None
    return ("binding", *(binding[name] for name in fields), *([arguments] if arguments else []))


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _reason(answer: bytes) -> str:
    """The broker's own words, which come as JSON with HTML in it, or as plain text."""
    try:
        reason = str(json.loads(answer)["reason"])
    except (ValueError, KeyError, TypeError):
        reason = answer.decode(errors="replace")
    return unescape(reason).replace("\\n", " ").replace("\n", " ")
