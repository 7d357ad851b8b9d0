"""What can go wrong, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from amqp.exceptions import RecoverableConnectionError
from kombu.exceptions import OperationalError


class FleetError(Exception):
    """Base of the errors of this package that are not about publishing."""


class FleetFileError(FleetError):
    """The fleet file, or a password file that it names, cannot be used.

    Args:
        path: The file.
        problem: What is wrong with it.
        remedy: What a person can do about it.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}.")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class SettingsError(FleetError):
    """The application has settings with which it cannot run in a fleet.

    Args:
        refused: The name, the value and what a person has to know of each.
    """

    def __init__(self, refused: Sequence[tuple[str, str, str]]) -> None:
        lines = [f"  {name} = {value}: {meaning}" for name, value, meaning in refused]
        super().__init__("\n".join(["Settings of the application that the fleet refuses:", *lines]))
        self.refused = refused


class ControlRefusedError(FleetError):
    """The broker refuses remote control, such as `revoke` or `inspect`, from this process."""


class TaskMemoryError(FleetError):
    """A task raised `MemoryError`, by which Celery would end the worker and every task in it."""


class BrokerRefusedError(RecoverableConnectionError):
    """A broker node was reached but gave no connection.

    For Kombu and Celery this is one more way in which connecting fails, so a worker waits and tries
    again, and a publisher raises when its retries are used up.
    """


class LoginRefusedError(BrokerRefusedError):
    """The broker refuses a user's password, and the one before it.

    Args:
        user: Who wanted to log in.
        node: Where.
        password_file: The file with the password.
    """

    def __init__(self, user: str, node: str, password_file: str) -> None:
        super().__init__(
            f"{node} refuses user {user} with the password in {password_file}. "
            "Run the broker play, which sets the password, or the deploy play, which writes the file."
        )
        self.user = user
        self.node = node
        self.password_file = password_file


class VerifyError(FleetError):
    """The fleet could not be verified at all, e.g. because another verification is running."""


class DeadLettersError(FleetError):
    """The dead letters could not be read or settled, e.g. because another run is at work on them."""


class PublishError(OperationalError):
    """The broker did not store a message, so nobody will run the task.

    Celery promises OperationalError when a task cannot be published, so that is what callers catch.
    """


class QueueFullError(PublishError):
    """The queue is at its limit and stayed so for as long as the publisher was willing to wait."""


class MessageTooLargeError(PublishError):
    """The message is larger than the broker takes.

    Args:
        size: Its size in bytes.
        limit: The largest that the broker takes, in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the message has {size} bytes, and the broker takes {limit} ({limit / 1024**2:g} MiB): keep "
            "the data elsewhere and send where it is, or raise fleet_broker.max_message_mib"
        )
        self.size = size
        self.limit = limit


class UnroutableError(PublishError):
    """The exchange has no queue for the routing key."""
