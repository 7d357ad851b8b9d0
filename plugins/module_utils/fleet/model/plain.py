"""Data of any origin, copied into nested built-in types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

from ..findings import show

# Nested built-in types, as `plain` returns them; what is in them is checked where it is read.
Plain: TypeAlias = Any
DEEPEST: Final = 30


class Unreadable:
    """Stands for endless data; legal nowhere, so that the check of its field reports it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"({self.reason})"


class NotText(str):
    """A name that is no text for YAML, such as ``1``, ``true`` or ``null``, in words."""

    __slots__ = ()


def plain(value: object) -> Plain:
    """Turn data of any origin into built-in types.

    Ansible hands over subclasses of ``str``, ``dict`` and ``list`` that carry tags or template
    themselves when they are read; nothing behind this border has to know of them.

    Args:
        value: Nested mappings, sequences and scalars.

    Returns:
        The same in ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``; anything
        else as it is, to be rejected by the check of its field. What occurs several times is converted
        once, what contains itself, or is nested deeper than anything the kit reads, is cut off, and names of
        mappings that are no texts become ``NotText``.
    """
    return _plain(value, {}, set(), 0)


def _plain(value: object, converted: dict[int, tuple[object, Plain]], above: set[int], depth: int) -> Plain:
    if type(value) is NotText:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, Mapping | Sequence) or isinstance(value, bytes | bytearray):
        return value
    here = id(value)
    if here in converted:
        return converted[here][1]
    if here in above:
        return Unreadable("contains itself")
    if depth == DEEPEST:
        return Unreadable(f"nested more than {DEEPEST} deep")
    above.add(here)
    result: Plain
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            name = _plain(key, converted, above, depth + 1)
            name = name if isinstance(name, str) else NotText(show(name))
            if type(name) is NotText:
                # A text of the same words must not stand for it.
                result.pop(name, None)
            result[name] = _plain(item, converted, above, depth + 1)
    else:
        result = [_plain(item, converted, above, depth + 1) for item in value]
    above.remove(here)
    # The value is kept, so that its identity is not given to another one meanwhile.
    converted[here] = (value, result)
    return result


def texts(value: object) -> list[str]:
    """Return the texts of a list, such as the names of hosts or groups; anything else is left out."""
    items = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else ()
    return [str.__str__(item) for item in items if isinstance(item, str)]


def exact(value: float | int | Fraction) -> Fraction:
    """Read a number by its decimal digits, so that 3 / 0.06 is 50 and not a little less."""
    return value if isinstance(value, Fraction) else Fraction(str(value))
