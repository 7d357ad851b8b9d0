"""Proposals in the layers of the model: where each belongs, and the layer that is written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ..model.layers import merge
from ..model.types import Pool

VARIABLE: Final = "fleet_tuned_pools"
# The layers below the tuned one, which it may change; what a person wrote above it stays.
BELOW: Final = ("fleet_pool_defaults", "fleet_pools", VARIABLE)
HOST: Final = "fleet_host_pools"
# How Ansible lets a file of variables end.
_ENDINGS: Final = ("", ".yml", ".yaml", ".json")
MARK: Final = "# Written by playbooks/tune.yml from what tasks used, which may change it when it runs again."
_HEAD: Final = f"""\
{MARK}
# Above fleet_pools, below what the environment, a profile or a host says.
"""


class LayerError(ValueError):
    """A file that is not the kit's to write."""


def set_by(pool: Pool, field: str) -> str:
    """Return the variable that gave a field of a pool, such as ``fleet_host_pools.io``.

    Args:
        pool: The pool with its effective fields.
        field: Dotted path of the field.
    """
    return pool.variable(*field.split(".")).removesuffix(f".{field}")


def changed(
    raw: Mapping[str, Any], hosts: Mapping[str, Any], row: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model and the hosts with what is proposed, where it belongs.

    Args:
        raw: The mapping ``fleet_model``, plain.
        hosts: What is known of the hosts, plain.
        row: A figure with its ``pool``, its ``proposal``, the variables that give it (``set_by``) and, if
            it is a host's own, its ``host``; ``by_layer`` if the tuned layer can carry all of it.
    """
    model, known, pool = copy.deepcopy(dict(raw)), dict(hosts), row["pool"]
    for field, value in row["proposal"].items():
        variable = row["set_by"][field]
        path = [pool, *field.split(".")]
        target: dict[str, Any]
        if variable.startswith(f"{HOST}."):
            name = row["host"]
            target = known[name] = copy.deepcopy(known[name])
            path = ["pools", *path]
        elif variable.split(".")[0] in BELOW:
            # What a person has to change elsewhere, too, is not written in part.
            target, path = model, ["tuned_pools" if row["by_layer"] else "environment_pools", *path]
        else:
            target, path = model, [*variable.removeprefix("fleet_").split("."), *field.split(".")]
        for key in path[:-1]:
            below = target.get(key)
            target[key] = below if isinstance(below, dict) else {}
            target = target[key]
        target[path[-1]] = value
    return model, known


def place(directory: Path) -> Path:
    """Return the file of the tuned layer beside an inventory.

    Args:
        directory: Where the inventory is.

    Raises:
        LayerError: If the directory that it needs would hide the inventory's own variables.
    """
    group = directory / "group_vars"
    hidden = [path for path in (group / f"all{ending}" for ending in _ENDINGS) if path.is_file()]
    if hidden and not (group / "all").is_dir():
        raise LayerError(
            f"{hidden[0]} is a file, and Ansible would no longer read it beside a directory of that name: "
            f"move it to {group / 'all' / 'fleet.yml'}, and run tune again"
        )
    return group / "all" / "fleet_tuned.yml"


def written(tuned: Mapping[str, Any], path: Path) -> str:
    """Return what the file of the tuned layer is to hold.

    Args:
        tuned: The pools of the layer with their fields.
        path: The file, which may be there.

    Raises:
        LayerError: If somebody else made the file.
    """
    if path.exists() and not path.read_text().startswith(MARK):
        raise LayerError(f"{path} was not made by tune, which leaves it alone: move it, and run tune again")
    return _HEAD + "---\n" + yaml.safe_dump({VARIABLE: tuned}, sort_keys=False)


def merged(tuned: Mapping[str, Any], proposed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tuned layer with what is proposed now."""
    return merge(((VARIABLE, tuned), (VARIABLE, proposed)))[0]
