"""Filters that derive from the fleet's model; see the module utilities for what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from ansible import constants
from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.broker.topology import topology
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.catalogue import CATALOGUE
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files import application
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.beat_file import beat_file
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.fleet_file import (
    fleet_file,
    flower_file,
    scheduler_digest,
    worker_digests,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.hooks import release_hooks
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.users import (
    fleet_users,
    host_users,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import (
    Finding,
    Findings,
    ModelError,
    report,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import installation
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.fields import APP
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.spec import (
    clean,
    reporter,
    table_of,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.plan import picture, tables
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.plan.fleet import fleet_plan
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.plan.host import host_plan, host_plans
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.preflight import controller, python
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.preflight.periodic import periodic_tasks
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.results import acl

Options = ParamSpec("Options")
Result = TypeVar("Result")

# Why nothing may be derived: what the site says would not count.
UNREAD = controller.fault(constants.VARIABLE_PRECEDENCE, constants.CONFIG_FILE)


def _as_filter(function: Callable[Options, Result]) -> Callable[Options, Result]:
    """Turn a refusal into an error that Ansible shows as text."""

    def wrapped(*args: Options.args, **kwargs: Options.kwargs) -> Result:
        if UNREAD:
            raise AnsibleFilterError(f"{UNREAD}: {CATALOGUE['controller/precedence'].remedy}")
        try:
            return function(*args, **kwargs)
        except ModelError as refusal:
            raise AnsibleFilterError(f"The fleet's model is refused. {refusal}") from refusal
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return wrapped


def is_readable(app: object) -> bool:
    """Return whether every field of ``fleet_app`` that says where an application is has a legal value."""
    if UNREAD:
        return False
    findings = Findings()
    clean(plain(app), table_of(APP), (), reporter(findings, "fleet_app"))
    return not findings.errors


def findings_text(findings: Iterable[Mapping[str, str]]) -> str:
    """Write findings as text for a person."""
    text: str = report(Finding(**finding) for finding in plain(findings))
    return text


def once(limit: str) -> str:
    """Return the hosts of a play that runs once, on the controller.

    ``ansible-playbook`` evaluates this in its own process, before it starts others for the tasks, so that
    each of them finds the kit's filters loaded. Otherwise a run would spend a third of its time on that.

    Args:
        limit: What ``--limit`` says, which leaves out the controller; empty without it.

    Returns:
        A pattern of hosts; with a limit such a play has to choose one host by itself.
    """
    return "all" if limit else "localhost"


def pool_names(model: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the names of all pools of a model, those that an environment adds among them."""
    return [*{**model["pools"], **model["environment_pools"]}]


class FilterModule:
    """The filters of the fleet's model."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        filters: dict[str, Callable[..., Any]] = {
            "pool_names": pool_names,
            "host_plan": host_plan,
            "host_plans": host_plans,
            "plan_table": lambda plans: tables.plan_table(plain(plans)),
            "fleet_plan": fleet_plan,
            "fleet_text": lambda document: tables.fleet_text(plain(document)),
            "fleet_svg": lambda document: picture.svg(plain(document)),
            "fleet_mermaid": lambda document: picture.mermaid(plain(document)),
            "topology": topology,
            "installation": installation,
            "release_hooks": _as_filter(release_hooks),
            "fleet_file": fleet_file,
            "flower_file": flower_file,
            "application_digests": application.application_digests,
            "application_state": application.application_state,
            "environment_lines": application.environment_lines,
            "process_environment": application.process_environment,
            "release_files": application.release_files,
            "secret_forms": application.secret_forms,
            "working_directory": lambda app, release: application.working_directory(
                plain(app), plain(release)
            ),
            "worker_digests": lambda fleet, more=None: worker_digests(plain(fleet), plain(more)),
            "scheduler_digest": lambda fleet, more=None: scheduler_digest(plain(fleet), plain(more)),
            "host_users": host_users,
            "beat_file": beat_file,
            "fleet_users": fleet_users,
            "results_users": lambda passwords, further: acl(plain(passwords), plain(further)),
            "fits_python": python.fits,
            "periodic_tasks": lambda built, schedule, beat: periodic_tasks(
                built, plain(schedule), plain(beat)
            ),
        }
        # Preflight reports, whatever is wrong.
        reports: dict[str, Callable[..., Any]] = {
            "once": once,
            "findings_text": findings_text,
            "is_readable": is_readable,
        }
        return {name: _as_filter(function) for name, function in filters.items()} | reports
