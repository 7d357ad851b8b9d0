"""RabbitMQ's management API.

`GET /api/definitions` holds everything but exclusive queues, which belong to one connection and are nobody
else's business. `POST /api/definitions` creates what is missing and overwrites users, permissions, policies
and parameters, but silently leaves a queue or an exchange that exists as it is: these kinds are fixed.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from html import unescape
from typing import Any, Final
from urllib.parse import quote, urlsplit

from .reconcile import Key
from .state import binding_key

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
    """The broker can't be reached, or refused a request."""


class RefusedError(BrokerError):
    """The broker was reached and refused one request.

    Attributes:
        status: Its answer, as HTTP numbers it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Management:
    """RabbitMQ's management API over one connection.

    Attributes:
        requests: How many requests were made.
    """

    def __init__(
        self, url: str, user: str, password: str, timeout: float = 30, ca_file: str | None = None
    ) -> None:
        """Store the address and the login; the first request connects.

        Args:
            url: For example `http://127.0.0.1:15672`.
            user: A user with the tag `administrator`.
            password: Its password.
            timeout: Seconds that one request may take.
            ca_file: File of the authorities from one of which an encrypted API's certificate must come;
                by default those of the system.

        Raises:
            BrokerError: The file of the authorities can't be read.
        """
        parts = urlsplit(url)
        if parts.scheme == "https":
            try:
                trust = ssl.create_default_context(cafile=ca_file)
            except OSError as error:
                raise BrokerError(f"The authorities in {ca_file} can't be read: {error}") from error
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=timeout, context=trust
            )
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        self._url, self._user, self._timeout = url, user, timeout
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self.requests = 0
        self._last = time.monotonic()

    def tags(self) -> list[str]:
        """Return the tags of the user.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        tags = self._request("GET", "/api/whoami")["tags"]
        # Before 3.9 one text.
        return tags.split(",") if isinstance(tags, str) else list(tags)

    def version(self) -> str:
        """Return the broker's version.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        return str(self._request("GET", "/api/overview?columns=rabbitmq_version")["rabbitmq_version"])

    def vhosts(self) -> set[str]:
        """Return the names of the vhosts that the user may see.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        return {each["name"] for each in self._request("GET", "/api/vhosts?columns=name")}

    def vhost_limits(self, vhost: str) -> dict[str, int]:
        """Return the limits of a vhost by their names; none if it isn't there.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        found = self._request("GET", "/api/vhost-limits")
        return next((dict(each["value"]) for each in found if each["vhost"] == vhost), {})

    def operator_policies(self, vhost: str) -> list[dict[str, Any]]:
        """Return the policies by which the operator of a vhost limits what others set.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        found = self._request("GET", "/api/operator-policies")
        return [each for each in found if each["vhost"] == vhost]

    def feature_flags(self) -> dict[str, str]:
        """Return the state of each feature flag.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        return {each["name"]: each["state"] for each in self._request("GET", "/api/feature-flags")}

    def definitions(self) -> dict[str, Any]:
        """Return everything that the broker has.

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
        """Return the policy that applies to an exchange.

        Args:
            vhost: Where it is.
            exchange: Its name.

        Returns:
            The policy's name; None if there is none.

        Raises:
            BrokerError: The broker can't be reached, or there is no such exchange.
        """
        answer = self._request("GET", f"/api/exchanges/{_quoted(vhost)}/{_quoted(exchange)}?columns=policy")
        return answer.get("policy") or None

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

    def set_user(self, name: str, password: str, tags: str = "") -> None:
        """Create a user, or change the password and the tags.

        Args:
            name: Its name.
            password: Its password.
            tags: Its tags, with commas between them.

        Raises:
            BrokerError: The broker can't be reached or refuses it.
        """
        self._request("PUT", f"/api/users/{_quoted(name)}", {"password": password, "tags": tags})

    def set_permission(self, vhost: str, user: str, rights: Mapping[str, str]) -> None:
        """Set what a user may do in a vhost.

        Args:
            vhost: Where.
            user: Who.
            rights: Patterns of names to configure, write and read.

        Raises:
            BrokerError: The broker can't be reached or refuses it.
        """
        self._request("PUT", f"/api/permissions/{_quoted(vhost)}/{_quoted(user)}", rights)

    def load(self, document: Mapping[str, Any]) -> None:
        """Create and change objects, in one request.

        Args:
            document: The objects by section.

        Raises:
            BrokerError: The broker can't be reached or refuses the user or one of the objects.
        """
        self._request("POST", "/api/definitions", document)

    def obstacles(self) -> list[str]:
        """Return what keeps the nodes of the cluster from working.

        Returns:
            One sentence for each node that is down and for each alarm.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        obstacles = []
        for node in self._request("GET", "/api/nodes?columns=name,running,mem_alarm,disk_free_alarm"):
            if not node.get("running"):
                obstacles.append(f"Node {node['name']} is down.")
            for alarm, text in _ALARMS.items():
                if node.get(alarm):
                    obstacles.append(f"Node {node['name']} has raised its {text}")
        return obstacles

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """Return the figures of all queues of a vhost, which are up to ten seconds old.

        Args:
            vhost: Where they are.

        Returns:
            For each its name and, as far as they are known, messages, consumers and rates.

        Raises:
            BrokerError: The broker can't be reached or refuses the user.
        """
        columns = (
            "name,messages,messages_ready,messages_unacknowledged,consumers,head_message_timestamp,exclusive,"
            "message_stats.publish_details.rate,message_stats.ack_details.rate"
        )
        return list(self._request("GET", f"/api/queues/{_quoted(vhost)}?columns={columns}"))

    def queue(self, vhost: str, name: str) -> dict[str, Any]:
        """Return the figures of a queue, which are up to ten seconds old.

        Args:
            vhost: Where it is.
            name: Its name.

        Raises:
            RefusedError: There is no such queue.
            BrokerError: The broker can't be reached or refuses the user.
        """
        columns = "state,messages,messages_ready,messages_unacknowledged,consumers"
        return dict(self._request("GET", f"/api/queues/{_quoted(vhost)}/{_quoted(name)}?columns={columns}"))

    def has_ready(self, vhost: str, name: str) -> bool:
        """Return whether a message waits in a queue now; it stays there, and counts as delivered once more.

        Args:
            vhost: Where it is.
            name: Its name.

        Raises:
            RefusedError: There is no such queue, or it does not answer.
            BrokerError: The broker can't be reached or refuses the user.
        """
        look = {"count": 1, "ackmode": "reject_requeue_true", "encoding": "auto", "truncate": 1}
        return bool(self._request("POST", f"/api/queues/{_quoted(vhost)}/{_quoted(name)}/get", look))

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
                if binding_key(binding) == key:
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


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _reason(answer: bytes) -> str:
    """Return the broker's reason, which comes as JSON with HTML in it, or as plain text."""
    try:
        reason = str(json.loads(answer)["reason"])
    except (ValueError, KeyError, TypeError):
        reason = answer.decode(errors="replace")
    return unescape(reason).replace("\\n", " ").replace("\n", " ")
