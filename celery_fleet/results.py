"""The fleet's own result backend: an outage of it loses no finished task and holds up no publisher.

Celery imports it by its name, where the fleet keeps results and the application does not.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable
from typing import Any

from celery._state import get_current_worker_task
from celery.backends.redis import RedisBackend
from kombu.utils.functional import retry_over_time
from redis import CredentialProvider, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from celery_fleet import files
from celery_fleet.errors import FleetFileError
from celery_fleet.fleet import Login, Results
from celery_fleet.fleet_file import POOL_VARIABLE

logger = logging.getLogger(__name__)

# What an outage, a full memory or a server that still reads its file looks like.
ERRORS = (RedisError, OSError, FleetFileError)

# Seconds, where the application says nothing: for TCP and TLS; for an answer; from which an idle connection
# is tried before it is used.
CONNECT_TIMEOUT = 3.0
REPLY_TIMEOUT = 10.0
IDLE = 30

# The part of its pool's soft limit for which a finished task waits for the results to come back.
PATIENCE = 0.25
# Seconds in which the worker's own loop, which must not stand still, does not try again.
PAUSE = 20.0


class FileCredentials(CredentialProvider):
    """A user whose password is read at every connect, so that it can be replaced under running processes.

    Args:
        login: The user and the file.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def get_credentials(self) -> tuple[str, str]:
        """Return the user's name and password."""
        return self._login.user, files.read_password(self._login.password_file)


class FleetBackend(RedisBackend):
    """Celery's backend for Redis at the fleet's server.

    A task that has ended waits in its slot until its result is stored, so an outage delays it, and it neither
    runs again nor is lost. If the outage outlasts a quarter of its pool's soft limit, the log names the task
    whose result is missing.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Celery has no types
        super().__init__(*args, **options)
        fleet = self.app.amqp.fleet
        pool = fleet.pools.get(os.environ.get(POOL_VARIABLE) or "")
        self._is_worker = pool is not None
        self._patience = pool.soft_time_limit * PATIENCE if pool else 0.0
        self._silent_until = 0.0
        self._reach(fleet.results)

    def _reach(self, results: Results) -> None:
        login = results.worker if self._is_worker else results.client
        parameters = self.connparams
        parameters |= {
            "host": results.host,
            "port": results.port,
            "db": 0,
            "credential_provider": FileCredentials(login),
            "socket_connect_timeout": parameters["socket_connect_timeout"] or CONNECT_TIMEOUT,
            "socket_timeout": min(parameters["socket_timeout"] or REPLY_TIMEOUT, REPLY_TIMEOUT),
            "socket_keepalive": True,
            "health_check_interval": parameters.get("health_check_interval") or IDLE,
            # A connection that the server has closed since is made again, at once and once.
            "retry": Retry(NoBackoff(), 1),
        }
        for taken in ("username", "password"):
            parameters.pop(taken, None)
        if results.ca_file is not None:
            parameters |= {
                "connection_class": SSLConnection,
                "ssl_ca_certs": results.ca_file,
                "ssl_cert_reqs": ssl.CERT_REQUIRED,
                "ssl_check_hostname": True,
            }
        self.connection_errors = ERRORS
        scheme = "redis" if results.ca_file is None else "rediss"
        self.url = f"{scheme}://{login.user}@{results.host}:{results.port}/0"

    def _add_global_keyprefix(self) -> None:
        """Leave the keys as they are: the server's users have rights on these."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Do nothing when a task is published: who waits for its result subscribes to it then.

        Celery would subscribe at each publish, and so fail to publish while the results are away.
        """

    def ensure(self, fun: Callable[..., Any], args: tuple[object, ...], **policy: object) -> Any:  # noqa: ANN401
        """Run one command; a worker tries whole operations again, see below."""
        return fun(*args) if self._is_worker else super().ensure(fun, args, **policy)

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        """Store a result; in a worker, wait for the server if it must be."""
        store = super().store_result
        return self._persist(
            lambda: store(task_id, result, state, *args, **more), f"The result of task {task_id} ({state})"
        )

    def on_chord_part_return(self, request: Any, state: str, result: Any, **more: Any) -> None:  # noqa: ANN401
        """Count a part of a chord; in a worker, wait for the server if it must be."""
        count = super().on_chord_part_return
        self._persist(
            lambda: count(request, state, result, **more),
            f"Task {request.id}, a part of chord {request.group}, whose end will not be seen:",
        )

    def _persist(self, write: Callable[[], Any], what: str) -> Any:  # noqa: ANN401
        if not self._is_worker:
            return write()
        in_task = get_current_worker_task() is not None
        if not in_task and time.monotonic() < self._silent_until:
            logger.critical("%s was not stored: the server of results is away", what)
            return None
        try:
            if not in_task:
                return write()
            return retry_over_time(
                write,
                ERRORS,
                errback=_warn,
                max_retries=None,
                interval_start=0.2,
                interval_step=0.4,
                interval_max=2,
                timeout=self._patience,
            )
        except ERRORS as error:
            if not in_task:
                self._silent_until = time.monotonic() + PAUSE
            logger.critical("%s was not stored: %s: %s", what, type(error).__name__, error)
            return None


def _warn(error: Exception, intervals: Any, tries: int) -> float:  # noqa: ANN401 - Kombu's
    """Log the first failure of a write, and return the seconds until the next try."""
    if not tries:
        logger.warning(
            "A task that has ended waits for the server of results: %s: %s", type(error).__name__, error
        )
    return float(next(intervals))
