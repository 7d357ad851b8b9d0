"""A process that was forked from one with connections: it takes none of them for its own.

Two processes on one connection would read each other's confirmations, and publish again what had arrived.
Python tells of its own forks (gunicorn, multiprocessing). uWSGI forks without it, so publishers ask, too.
"""

from __future__ import annotations

import os
import threading
import weakref

from celery import Celery
from kombu import Connection, pools
from kombu.resource import Resource

from celery_fleet.nodes import SCHEME
from celery_fleet.protocol import drop_inherited

_apps: weakref.WeakSet[Celery] = weakref.WeakSet()
_process = os.getpid()
# By process: a thread that the fork has left behind may hold that of another one.
_locks: dict[int, threading.RLock] = {}


def watch(app: Celery) -> None:
    """Let an application have connections of its own in each process.

    Args:
        app: A member of the fleet.
    """
    _apps.add(app)


def look() -> None:
    """Forget what was inherited, if this is another process than before, in one thread while others wait."""
    process = os.getpid()
    if _process == process:
        return
    with _locks.setdefault(process, threading.RLock()):
        if _process != process:
            _forget(process)


def _forget(process: int) -> None:
    global _process
    drop_inherited()
    for group in (pools.producers, pools.connections):
        for key, pool in list(group.items()):
            if _connection_of(pool).transport_cls == SCHEME:
                group.pop(key, None)
    for app in list(_apps):
        app._pool = None
        if "amqp" in app.__dict__:
            app.amqp._producer_pool = None
    # Whoever sees it goes on at once.
    _process = process
    _locks.clear()


def _connection_of(pool: Resource) -> Connection:
    """Return what a pool of producers or of connections connects to."""
    return getattr(pool, "connections", pool).connection


os.register_at_fork(after_in_child=look)
