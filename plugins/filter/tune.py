"""Filters of the tune playbook; see the module utilities in `tune/` for what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.findings import ModelError
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.model.plain import plain
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.tune.document import tune
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.tune.figures import Least
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.tune.layer import (
    LayerError,
    place,
    written,
)
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.tune.screen import text


def fleet_tune(
    model: object, hosts: Mapping[str, Any], used: Mapping[str, Any], tasks: object, span_s: object
) -> dict[str, Any]:
    """Compare the model with what tasks used."""
    try:
        least = Least(float(str(tasks)), float(str(span_s)))
        document: dict[str, Any] = tune(model, plain(hosts), plain(used), least)
    except ModelError as refusal:
        raise AnsibleFilterError(f"The fleet's model is refused. {refusal}") from refusal
    except ValueError as error:
        raise AnsibleFilterError(f"tune_tasks and tune_span are numbers: {error}") from error
    return document


def tuned_file(document: Mapping[str, Any], directory: str) -> dict[str, str]:
    """Return the path and the content of the layer beside an inventory."""
    try:
        path = place(Path(plain(directory)))
        return {"path": str(path), "content": written(plain(document)["tuned"], path)}
    except (LayerError, OSError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of what tasks used."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "fleet_tune": fleet_tune,
            "tune_text": lambda document: text(plain(document)),
            "tuned_file": tuned_file,
        }
