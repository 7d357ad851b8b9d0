"""The fields in which a host differs from the fleet, and what they replace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..model.layers import merge
from ..model.plain import Plain
from ..model.types import Model, Pool
from .figures import plain_value
from .sizing import Size

# The lowest layers of a pool; whatever lies above them overrides them.
BASE: Final = ("fleet_pool_defaults", "fleet_pools")


def overrides(model: Model, pool: Pool, sized: Size) -> list[dict[str, Any]]:
    """Return the fields of a pool that a host overrides, with what they replace.

    Args:
        model: The fleet.
        pool: The pool with its effective fields.
        sized: Its size on the host.

    Returns:
        For each field its ``value``, what that ``replaced`` (for a concurrency the derived figure) and
        the variable ``by`` which it did. Values of an environment are left out: they may be secrets.
    """
    stated = ("autoscale", "max") if pool.autoscale.enabled else ("concurrency",)
    fields = []
    if sized.bound_by == "override":
        fields.append(_override(pool, stated, sized.derived))
    base_layers = BASE if model.layers["fleet_pools"][pool.name] else (*BASE, "fleet_environment_pools")
    layered = [
        path for path, by in pool.origins.items() if by.split(".")[0] not in base_layers and path != stated
    ]
    base = _base(model, pool.name, base_layers) if layered else {}
    for path in layered:
        replaced: Plain = base
        for key in path:
            replaced = replaced.get(key) if isinstance(replaced, dict) else None
        if path[0] == "environment":
            fields.append({"field": ".".join(path), "value": None, "replaced": None, "by": _by(pool, path)})
        elif _value(pool, path) != replaced:
            fields.append(_override(pool, path, replaced))
    return fields


def _base(model: Model, name: str, layers: Iterable[str]) -> dict[str, Any]:
    """Return what a pool's layers set."""
    set_by = [(variable, model.layers[variable]) for variable in layers]
    return merge((v, f if v == "fleet_pool_defaults" else f[name]) for v, f in set_by)[0]


def _override(pool: Pool, path: tuple[str, ...], replaced: object) -> dict[str, Any]:
    return {
        "field": ".".join(path),
        "value": _value(pool, path),
        "replaced": replaced,
        "by": _by(pool, path),
    }


def _by(pool: Pool, path: tuple[str, ...]) -> str:
    return pool.variable(*path).removesuffix("." + ".".join(path))


def _value(pool: Pool, path: tuple[str, ...]) -> Plain:
    """Return a field of a pool in plain types."""
    value: object = pool
    for key in path:
        value = value[key] if isinstance(value, Mapping) else getattr(value, key)
    return plain_value(value)
