"""Layers of a mapping: a higher one changes single fields of a lower one; every value knows who set it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Origins = Mapping[tuple[str, ...], str]
Layer = tuple[str, Mapping[str, Any]]


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], Origins]:
    """Lay mappings over each other, deeply; anything but a mapping is replaced.

    Args:
        layers: Pairs of the variable's name and its value, lowest first.

    Returns:
        The merged mapping, and for each path in it the variable that set it.
    """
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for variable, layer in layers:
        _overlay(merged, layer, variable, (), origins)
    return merged, origins


def _overlay(
    below: dict[str, Any],
    layer: Mapping[str, Any],
    variable: str,
    path: tuple[str, ...],
    origins: dict[tuple[str, ...], str],
) -> None:
    for key, value in layer.items():
        here = (*path, key)
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _overlay(below[key], value, variable, here, origins)
        else:
            below[key] = copy.deepcopy(value) if isinstance(value, Mapping) else value
            origins[here] = variable


def origin_of(origins: Origins, path: Sequence[str]) -> str | None:
    """Return the variable that set a field, or the nearest field above it."""
    layers = (origins.get(tuple(path[:length])) for length in range(len(path), 0, -1))
    return next((layer for layer in layers if layer), None)


def variable_of(origins: Origins, default: str, path: Sequence[str]) -> str:
    """Return the full path of a field, below the variable that set it."""
    return ".".join((origin_of(origins, path) or default, *path))
