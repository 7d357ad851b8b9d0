"""Makes an application that knows nothing of the fleet a member of it, as a line at its module's end would.

kombu loads this by the entry point `kombu.serializers` as soon as a process imports Celery, be it a worker, a
web process or a shell. The environment's entry point `celery_fleet.autoconfigure` says which application is
meant (a release has one if `fleet_app.autoconfigure` is set), or the variable CELERY_FLEET_AUTOCONFIGURE.

It is no part of the package `celery_fleet`, which imports Celery: that is still being imported here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from operator import attrgetter
from types import ModuleType
from typing import Final

VARIABLE: Final = "CELERY_FLEET_AUTOCONFIGURE"
GROUP: Final = "celery_fleet.autoconfigure"

# kombu wants a serializer of what it loads: JSON under a name that nobody uses.
SERIALIZER: Final = (json.dumps, json.loads, "application/x-celery-fleet", "utf-8")


def target() -> str:
    """Return the application that is meant, as `module:attribute`; empty if there is none."""
    named = os.environ.get(VARIABLE)
    return named or next((entry.value for entry in entry_points(group=GROUP)), "")


class _Spec(ModuleSpec):
    """The specification of the application's module, which learns when the module is complete."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        # Python's own mark. If it ever gets another name, the build of a release sees that nothing happens.
        if name == "_initializing" and not value:
            # It has done its work. Both classes have the same layout, which mypy does not know of.
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            _configure(self.name)


class _Finder(MetaPathFinder):
    """Marks the module when it is looked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as the other finders do."""
        if fullname != self._module:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            spec.__class__ = _Spec
        return spec


def _configure(module: str) -> None:
    imported = sys.modules.get(module)
    if imported is None:  # it raised an exception of its own
        return
    try:
        import celery

        import celery_fleet

        name = target().partition(":")[2]
        try:
            app = attrgetter(name)(imported)
        except AttributeError:
            app = None
        if not isinstance(app, celery.Celery):
            raise celery_fleet.FleetError(
                f"fleet_app.autoconfigure (or {VARIABLE}) names {target()}, but {module} has no Celery "
                f"application {name}; the form is module:app"
            )
        celery_fleet.configure(app)
    except BaseException:
        # Nobody gets it from the second attempt to import it.
        sys.modules.pop(module, None)
        raise


def install() -> None:
    """Wait for the end of the module's import, which may be under way: it is what has imported Celery."""
    module = target().partition(":")[0]
    if not module:
        return
    sys.meta_path.insert(0, _Finder(module))
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if getattr(spec, "_initializing", False):
        spec.__class__ = _Spec


install()
