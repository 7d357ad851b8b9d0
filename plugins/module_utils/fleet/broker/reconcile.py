"""Compare the desired objects with those that exist, and return what has to be done.

Knows nothing of RabbitMQ: an object is a key (its kind, then what names it) and its attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Key = tuple[str, ...]
Attributes = dict[str, Any]
State = dict[Key, Attributes]


@dataclass(frozen=True)
class Difference:
    """One object that isn't as it should be.

    Attributes:
        key: Kind of the object, then its name's parts.
        before: Its attributes now; None if it doesn't exist.
        after: Its desired attributes; None if it is to be removed.
    """

    key: Key
    before: Attributes | None
    after: Attributes | None

    @property
    def label(self) -> str:
        """The object in words, for example `queue cpu_ml_training`."""
        return " ".join(self.key)

    def explain(self) -> list[str]:
        """Return one line for each attribute that differs: the object, the attribute, current and desired."""
        before, after = _flat(self.before or {}), _flat(self.after or {})
        return [
            f"{self.label}: {name} is {before.get(name, 'not set')}, wanted {after.get(name, 'not set')}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]


@dataclass(frozen=True)
class Changes:
    """What has to be done, each part in the order of its keys.

    Attributes:
        create: Objects that don't exist yet.
        change: Objects whose attributes can be changed in place.
        blocked: Objects that differ and can't be changed in place.
        remove: The fleet's objects that are no longer desired.
        unmanaged: Other objects that exist; they are left alone.
    """

    create: tuple[Difference, ...] = ()
    change: tuple[Difference, ...] = ()
    blocked: tuple[Difference, ...] = ()
    remove: tuple[Difference, ...] = ()
    unmanaged: tuple[Key, ...] = ()

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Everything that isn't as it should be."""
        return self.create + self.change + self.blocked + self.remove

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.differences


def compare(
    current: State,
    desired: State,
    *,
    fixed: Collection[str] = (),
    removable: Callable[[Key], bool] = lambda key: False,
) -> Changes:
    """Compare all attributes of all objects.

    Args:
        current: What exists.
        desired: What should exist.
        fixed: Kinds of objects that can't be changed once they exist.
        removable: Whether an object that isn't desired may be removed; nothing may by default.

    Returns:
        The changes; once they are applied, there are none.
    """
    differing = [
        Difference(key, current[key], desired[key])
        for key in sorted(desired.keys() & current.keys())
        if current[key] != desired[key]
    ]
    surplus = sorted(current.keys() - desired.keys())
    return Changes(
        create=tuple(Difference(key, None, desired[key]) for key in sorted(desired.keys() - current.keys())),
        change=tuple(each for each in differing if each.key[0] not in fixed),
        blocked=tuple(each for each in differing if each.key[0] in fixed),
        remove=tuple(Difference(key, current[key], None) for key in surplus if removable(key)),
        unmanaged=tuple(key for key in surplus if not removable(key)),
    )


def before_and_after(
    differences: Iterable[Difference],
) -> tuple[dict[str, Attributes], dict[str, Attributes]]:
    """Return the differing objects as two dictionaries, of which a diff can be shown.

    Args:
        differences: What differs.

    Returns:
        Attributes by the object's label, before and after; an object that doesn't exist is left out.
    """
    before: dict[str, Attributes] = {}
    after: dict[str, Attributes] = {}
    for each in differences:
        if each.before is not None:
            before[each.label] = each.before
        if each.after is not None:
            after[each.label] = each.after
    return before, after


def _flat(attributes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested attributes by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
