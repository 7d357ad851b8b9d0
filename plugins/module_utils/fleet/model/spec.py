"""What a field may hold: a small language of specs, and the reading of a value by one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack

from ..findings import Findings, nearest
from .plain import Plain

LARGEST: Final = 10**9
# What fields and variables were called before, and what they are called now.
RENAMED: Final[dict[str, str]] = {}
_INVALID: Final = object()


@dataclass(frozen=True)
class Spec:
    """What a value may be.

    Attributes:
        says: A legal value in words.
        test: Whether a value is legal, apart from what it contains.
        fields: Of a mapping with known keys, what each may hold.
        each: What every value of a mapping, or item of a list, may be.
        names: What every key of a mapping may be.
        required: Whether it must be given.
        nullable: Whether it may be null.
        missing: Id of the finding if it is not given.
        bad: Id of the finding if it is not legal.
        hidden: Whether a finding must not show the value, because it may be a secret.
    """

    says: str
    test: Callable[[Any], bool]
    fields: Mapping[str, Spec] | None = None
    each: Spec | None = None
    names: Spec | None = None
    required: bool = True
    nullable: bool = False
    missing: str = "model/missing-key"
    bad: str = "model/bad-value"
    hidden: bool = False


class _More(TypedDict, total=False):
    """The fields of a spec that its makers hand on."""

    required: bool
    nullable: bool
    missing: str
    bad: str


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number; true and false are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST**2


def whole_number(least: int, unit: str = "", most: int = LARGEST, **more: Unpack[_More]) -> Spec:
    """Return the spec of a whole number."""
    says = f"a whole number from {least} to {most}{unit and ' (' + unit + ')'}"
    return Spec(says, lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most, **more)


def number_between(
    least: float, most: float, unit: str = "", *, above: bool = False, **more: Unpack[_More]
) -> Spec:
    """Return the spec of a number."""
    lower = "above" if above else "of at least"
    says = f"a number {lower} {least:g}{unit and ' (' + unit + ')'}, at most {most:g}"
    return Spec(says, lambda v: is_number(v) and (v > least if above else v >= least) and v <= most, **more)


def one_of(*names: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of one of some names."""
    return Spec("one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names, **more)


def text_of(pattern: str, says: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of a text that matches a pattern."""
    return Spec(says, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None, **more)


def table_of(fields: Mapping[str, Spec], **more: Unpack[_More]) -> Spec:
    """Return the spec of a mapping with known fields."""
    return Spec("a mapping of " + ", ".join(fields), lambda v: isinstance(v, dict), fields=fields, **more)


def map_of(each: Spec, says: str) -> Spec:
    """Return the spec of a mapping with any names."""
    return Spec(says, lambda v: isinstance(v, dict), each=each)


def list_of(each: Spec, says: str, *, required: bool = True) -> Spec:
    """Return the spec of a list."""
    return Spec(says, lambda v: isinstance(v, list), each=each, required=required)


_Say = Callable[[str, tuple[str, ...], object, str, str], None]


def clean(value: Plain, spec: Spec, path: tuple[str, ...], say: _Say) -> Plain:
    """Give the legal part of a value, and say what is wrong with the rest."""
    if value is None and spec.nullable:
        return None
    if value is None:
        say(spec.missing, path, value, "is not given", f"give {spec.says}")
        return _INVALID
    if not spec.test(value):
        shown = "(not shown)" if spec.hidden else value
        say(spec.bad, path, shown, f"is not {spec.says}", f"give {spec.says}")
        return _INVALID
    if spec.fields is not None:
        return clean_fields(value, spec.fields, path, say)
    if spec.each is None:
        return value
    if isinstance(value, list):
        items = [clean(item, spec.each, (*path, str(at)), say) for at, item in enumerate(value)]
        return [item for item in items if item is not _INVALID]
    names = [key for key in value if spec.names is None or clean(key, spec.names, (*path, key), say) == key]
    found = {key: clean(value[key], spec.each, (*path, key), say) for key in names}
    return {key: item for key, item in found.items() if item is not _INVALID}


def clean_fields(
    value: Plain, fields: Mapping[str, Spec], path: tuple[str, ...], say: _Say
) -> dict[str, Any]:
    """Return the legal fields of a mapping, and report what is wrong with the rest."""
    for key in value:
        if key in RENAMED:
            new = RENAMED[key]
            say("model/renamed-key", (*path, key), value[key], f"it is now called {new}", f"write {new}")
        elif key not in fields:
            known = nearest(key, fields)
            remedy = "remove it, or use one of: " + ", ".join(fields)
            say("model/unknown-key", (*path, key), value[key], f"is no known field{known}", remedy)
    cleaned = {}
    for key, spec in fields.items():
        if key not in value and not spec.required:
            continue
        item = clean(value.get(key), spec, (*path, key), say)
        if item is not _INVALID:
            cleaned[key] = item
    return cleaned


def reporter(findings: Findings, root: str) -> _Say:
    """Return a reporter that adds to the findings, with paths below a variable."""

    def say(id: str, path: tuple[str, ...], value: object, reason: str, remedy: str) -> None:
        findings.add(id, ".".join((root, *path)), value, reason, remedy)

    return say
