"""Laying the fleet's settings over those of an application, with a word about each that it replaces."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from celery.app.defaults import DEFAULTS

from celery_fleet.errors import SettingsError
from celery_fleet.fleet import Fleet
from celery_fleet.settings import refusals, values
from celery_fleet.settings.table import SETTINGS

NO_LIBRARY = (
    "The fleet keeps results in Valkey or Redis, and the package `redis` is missing: add celery[redis] to "
    "the requirements, or set result_backend to another one, or to None."
)

logger = logging.getLogger(__name__)


class Settings:
    """The fleet's settings for one process of an application.

    Args:
        fleet: The fleet.
        pool_name: The pool whose worker this process is; None in others.
    """

    def __init__(self, fleet: Fleet, pool_name: str | None) -> None:
        self._fleet = fleet
        self._pool_name = pool_name
        self._said: set[str] = set()
        # The queues that the application itself lists, which give way to the fleet's.
        self.own_queues: frozenset[str] = frozenset()

    def enforce(self, conf: Any) -> None:  # noqa: ANN401 - Celery has no types
        """Lay the fleet's settings over the application's, as often as those are read.

        Args:
            conf: The application's settings.

        Raises:
            SettingsError: The application has settings that the fleet refuses, all of which are named.
        """
        refused = refusals.refused(conf)
        for name, value in values.defaults(self._fleet, self._pool_name).items():
            if not _is_set(conf, name):
                override(conf, name, value)
        owned = values.owned(self._fleet, self._pool_name, conf)
        owned = {name: value for name, value in owned.items() if name not in refused}
        if _is_set(conf, "task_queues") and conf["task_queues"] != owned.get("task_queues"):
            self.own_queues |= values.names_of(conf["task_queues"])
        replaced = [
            each
            for name, value in owned.items()
            if _is_set(conf, name) and conf[name] != value
            for each in _replaced(name, conf[name], value)
        ]
        # Also for an application that is refused: if it goes on, it must not reach another broker.
        # What is refused stays, so that it is refused again.
        for name, value in owned.items():
            override(conf, name, value)
        if new := [name for name in replaced if name not in self._said]:
            self._said.update(new)
            logger.warning("The fleet replaces these settings of the application: %s", ", ".join(new))
        if conf["result_backend"] == values.RESULTS and find_spec("redis") is None:
            raise SettingsError([("result_backend", "(that of the fleet)", NO_LIBRARY)])
        if refused:
            raise SettingsError([(name, value, SETTINGS[name].meaning) for name, value in refused.items()])


def _is_set(conf: Any, name: str) -> bool:  # noqa: ANN401 - Celery has no types
    """Return whether the application sets a setting, by whichever of its names."""
    names = {*conf._to_keys(name), *(convert(name) for convert in conf._keys)}
    # Without the last mapping, that of Celery's defaults. Before 5.7 Celery's own question knows fewer names.
    given = any(each in mapping for mapping in conf.maps[:-1] for each in names)
    return given or bool(conf[name] != DEFAULTS.get(name))


def override(conf: Any, name: str, value: object) -> None:  # noqa: ANN401 - as above
    """Replace the value of a setting, by whichever of its names the application gave it.

    Args:
        conf: The application's settings.
        name: The setting's name of today, in lower case.
        value: What counts from now on.
    """
    # The name with the application's namespace counts before the plain one until Celery 5.7.
    for each in {*conf._to_keys(name)[:1], name}:
        conf[each] = value


def _replaced(name: str, own: Any, owned: Any) -> list[str]:  # noqa: ANN401 - as above
    """Name what of an application's value does not count."""
    if name == "broker_transport_options" and isinstance(own, Mapping):
        return [f"{name}.{option}" for option in own if option not in owned or owned[option] != own[option]]
    return [name]
