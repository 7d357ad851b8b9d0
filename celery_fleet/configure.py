"""The one line that makes an application a member of the fleet."""

from __future__ import annotations

import logging
import os
from functools import partial

from celery import Celery

from celery_fleet import files, fleet_file, membership
from celery_fleet.errors import FleetFileError
from celery_fleet.fleet import Fleet
from celery_fleet.fleet_file import POOL_VARIABLE
from celery_fleet.publishing import forks
from celery_fleet.publishing.amqp import FleetAMQP
from celery_fleet.publishing.delay import round_up_short_delays
from celery_fleet.publishing.producer import PATIENCE
from celery_fleet.publishing.unconfirmed import FleetControl
from celery_fleet.settings.enforce import Settings
from celery_fleet.worker import canary, commands, execution, memory

logger = logging.getLogger(__name__)

# Celery reads these wherever it reads the setting, and prefers them to it.
BROKER_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


def configure(app: Celery, *, required: bool = False, publish_patience: float = PATIENCE) -> bool:
    """Configure a Celery application with the fleet's broker, queues, routes, limits and readiness.

    Where there is no fleet (on a laptop, in tests, in the build of an image) it leaves the application
    alone, with its own broker, and logs one line. `celery_fleet.membership.find` says where there has to be
    one: workers and whatever else the kit starts never run without.

    The fleet file and the password are read at once, so that a process without them ends here with
    a clear error; the network is not touched. It may be called before or after
    `app.config_from_object`.

    The fleet decides the settings for the broker, queues, late acknowledgement, and in a worker for
    prefetching and limits; those of the application that it replaces are logged by name. Everything
    else, `result_backend`, `task_annotations`, beat's schedule and what a task's own definition says
    among it, stays as the application has it. Some values are refused. `celery_fleet.settings.table`
    has all settings.

    The application's own `task_routes` stay, too. Of all that may name a queue, the first counts:
    what the publisher or the task's definition says (`queue`, or `exchange` and `routing_key`), a
    resource hint (`celery_fleet.hint`, then the task's `resource`), the application's
    `task_routes`, the fleet's rules.

    Publishing is confirmed and mandatory. A task that no queue takes raises
    `celery_fleet.UnroutableError`; a full queue is tried again with growing pauses and then raises
    `celery_fleet.QueueFullError`. Both are `kombu.exceptions.OperationalError`.

    Args:
        app: The Celery application.
        required: Whether a host without a fleet is an error. CELERY_FLEET_REQUIRED=1 says the same.
        publish_patience: Seconds that a publisher waits for room in a full queue; 0 raises at once.

    Returns:
        Whether the application is a member of a fleet now.

    Raises:
        FleetFileError: The fleet file or the password file cannot be used, or is missing where it is
            required; or CELERY_FLEET_POOL names a pool that the fleet file does not have.
        SettingsError: The application has settings that the fleet refuses. Where its settings are read later,
            it is raised there: by the first that needs one, at the latest by the first publish.
    """
    if getattr(app.amqp_cls, "func", None) is _make_amqp:  # by its release, say (celery_fleet_autoconfigure)
        return True
    fleet = membership.find(required)
    if fleet is None:
        # At import, when this is called, nobody has set up logging, and Python then shows warnings only.
        logger.warning(
            "There is no fleet on this host (%s): the application %s keeps its own broker and settings.",
            fleet_file.DEFAULT_PATH,
            app.main or "(without a name)",
        )
        return False
    pool_name = os.environ.get(POOL_VARIABLE) or None
    if pool_name is not None and pool_name not in fleet.pools:
        raise FleetFileError(
            fleet.path,
            f"has no pool `{pool_name}`, which {POOL_VARIABLE} names, but {', '.join(fleet.pools)}",
            files.DEPLOY,
        )
    login = fleet.broker if pool_name is None else fleet.pools[pool_name]
    files.read_password(login.password_file)  # so that a process that cannot ends here

    # Also for the processes that this one starts. A value may hold a password, so only the name is logged.
    removed = [name for name in BROKER_VARIABLES if os.environ.pop(name, None) is not None]
    if removed:
        logger.warning("The fleet's broker replaces %s of the environment", ", ".join(removed))
    settings = Settings(fleet, pool_name)
    load = app._load_config

    # Celery calls this whenever it (re)reads the application's settings. Its signal for that swallows errors.
    def load_config() -> object:
        conf = load()
        settings.enforce(conf)
        return conf

    app._load_config = load_config
    app.amqp_cls = partial(_make_amqp, settings=settings, fleet=fleet, patience=publish_patience)
    app.control_cls = (
        partial(FleetControl, node_class=commands.GuardedNode)
        if fleet.broker.client_control
        else FleetControl
    )
    for made_on_first_use in ("amqp", "control"):
        app.__dict__.pop(made_on_first_use, None)
    if app.configured:
        settings.enforce(app.conf)
    forks.watch(app)
    round_up_short_delays(app)
    canary.register(app, fleet)
    memory.register()
    if pool_name is not None:
        execution.register()
    return True


def _make_amqp(app: Celery, settings: Settings, fleet: Fleet, patience: float) -> FleetAMQP:
    """Make the publishing side: at the first publish, or the start of a worker."""
    # What was set since the settings were read counts no more than before.
    settings.enforce(app.conf)
    return FleetAMQP(app, fleet, patience, settings.own_queues)
