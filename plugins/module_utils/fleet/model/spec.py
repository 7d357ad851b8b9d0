"""What a field may hold: a small language of specs, and the reading of a value by one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypedDict, Unpack

from ..findings import Findings, nearest
from .layers import Origins, variable_of
from .plain import NotText, Plain

LARGEST: Final = 10**9
# What fields and variables were called before, and what they are called now.
RENAMED: Final[dict[str, str]] = {}
_INVALID: Final = object()


@dataclass(frozen=True)
class Spec:
    """What a value may be, and what it means.

    Attributes:
        legal: A legal value in words.
        test: Whether a value is legal, apart from what it contains.
        schema: The same as JSON Schema, for editors; it may let more pass.
        fields: Of a mapping with known keys, what each may hold.
        variants: Of a mapping whose ``type`` says what it holds, the fields of each type.
        each: What every value of a mapping, or item of a list, may be.
        names: What every key of a mapping may be.
        required: Whether it must be given.
        nullable: Whether it may be null.
        missing: Id of the finding if it is not given.
        bad: Id of the finding if it is not legal.
        hidden: Whether a finding must not show the value, because it may be a secret; or what is wrong
            with a name.
        short: Of a mapping with known keys, the one that a bare value stands for.
        meaning: What it does, for the reference and for editors.
        fleet_wide: Whether only the fleet's layers may set it, and no profile and no host.
    """

    legal: str
    test: Callable[[Any], bool]
    schema: Mapping[str, Any]
    fields: Mapping[str, Spec] | None = None
    variants: Mapping[str, Mapping[str, Spec]] | None = None
    each: Spec | None = None
    names: Spec | None = None
    required: bool = True
    nullable: bool = False
    missing: str = "model/missing-key"
    bad: str = "model/bad-value"
    hidden: bool = False
    short: str = ""
    meaning: str = ""
    fleet_wide: bool = False


class _More(TypedDict, total=False):
    """The attributes of a spec that the functions below pass on."""

    required: bool
    nullable: bool
    missing: str
    bad: str
    hidden: bool
    short: str
    names: Spec


def field(meaning: str, spec: Spec, *, fleet_wide: bool = False) -> Spec:
    """Return the entry of a field: a spec with what the field means."""
    return replace(spec, meaning=meaning, fleet_wide=fleet_wide)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; true and false are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST**2


def flag(**more: Unpack[_More]) -> Spec:
    """Return the spec of true or false."""
    return Spec("true or false", lambda v: isinstance(v, bool), {"type": "boolean"}, **more)


def whole_number(least: int, unit: str = "", most: int = LARGEST, **more: Unpack[_More]) -> Spec:
    """Return the spec of a whole number."""
    return Spec(
        f"a whole number from {least} to {most}{unit and ' (' + unit + ')'}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most,
        {"type": "integer", "minimum": least, "maximum": most},
        **more,
    )


def number_between(
    least: float, most: float, unit: str = "", *, above: bool = False, **more: Unpack[_More]
) -> Spec:
    """Return the spec of a number."""
    lower = "above" if above else "of at least"
    return Spec(
        f"a number {lower} {least:g}{unit and ' (' + unit + ')'}, at most {most:g}",
        lambda v: is_number(v) and (v > least if above else v >= least) and v <= most,
        {"type": "number", "exclusiveMinimum" if above else "minimum": least, "maximum": most},
        **more,
    )


def share() -> Spec:
    """Return the spec of a share that is never the whole."""
    return Spec(
        "a share from 0 to below 1",
        lambda v: is_number(v) and 0 <= v < 1,
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    )


def one_of(*values: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of one of some values."""
    return Spec(
        "one of " + ", ".join(values),
        lambda v: isinstance(v, str) and v in values,
        {"enum": list(values)},
        **more,
    )


def any_text(legal: str = "a text that is not empty", **more: Unpack[_More]) -> Spec:
    """Return the spec of a text that is not empty."""
    return Spec(legal, lambda v: isinstance(v, str) and v != "", {"type": "string", "minLength": 1}, **more)


def text_of(pattern: str, legal: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of a text that matches a pattern, one that JavaScript reads as Python does."""
    return Spec(
        legal,
        lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None,
        {"type": "string", "pattern": f"^(?:{pattern})$"},
        **more,
    )


def table_of(fields: Mapping[str, Spec], **more: Unpack[_More]) -> Spec:
    """Return the spec of a mapping with known fields."""
    legal = ("its value, or " if "short" in more else "") + "a mapping of " + ", ".join(fields)
    return Spec(legal, lambda v: isinstance(v, dict), {"type": "object"}, fields=fields, **more)


def variants_of(variants: Mapping[str, Mapping[str, Spec]]) -> Spec:
    """Return the spec of a mapping whose ``type`` says which fields it has."""
    legal = "a mapping with a type"
    return Spec(legal, lambda v: isinstance(v, dict), {"type": "object"}, variants=variants)


def map_of(each: Spec, legal: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of a mapping with any names."""
    return Spec(legal, lambda v: isinstance(v, dict), {"type": "object"}, each=each, **more)


def list_of(each: Spec, legal: str, **more: Unpack[_More]) -> Spec:
    """Return the spec of a list."""
    return Spec(legal, lambda v: isinstance(v, list), {"type": "array"}, each=each, **more)


class Report(Protocol):
    """Takes what is wrong with the value at a path; the catalogue knows the usual reason and remedy."""

    def __call__(
        self,
        id: str,
        path: tuple[str, ...],
        value: object,
        reason: str | None = None,
        remedy: str | None = None,
        /,
    ) -> None:
        """Report it."""


def clean(value: Plain, spec: Spec, path: tuple[str, ...], report: Report) -> Plain:
    """Return the legal part of a value, and report what is wrong with the rest."""
    if value is None and spec.nullable:
        return None
    if value is None:
        report(spec.missing, path, value, "is not given", f"give {spec.legal}")
        return _INVALID
    if spec.short and not isinstance(value, dict):
        value = {spec.short: value}
    if not spec.test(value):
        hidden = spec.hidden or (isinstance(value, str) and spec.schema.get("type") == "object")
        shown = "(not shown)" if hidden else guarded(value)
        report(spec.bad, path, shown, f"is not {spec.legal}", f"give {spec.legal}")
        return _INVALID
    if spec.variants is not None:
        return _clean_variant(value, spec.variants, path, report)
    if spec.fields is not None:
        return clean_fields(value, spec.fields, path, report)
    if spec.each is None:
        return value
    if isinstance(value, list):
        items = [clean(item, spec.each, (*path, str(at)), report) for at, item in enumerate(value)]
        return [item for item in items if item is not _INVALID]
    names = [
        key
        for key in value
        if spec.names is None or clean(key, spec.names, (*path, _name(key, spec.names)), report) == key
    ]
    cleaned = {key: clean(value[key], spec.each, (*path, key), report) for key in names}
    return {key: item for key, item in cleaned.items() if item is not _INVALID}


def check_names(value: Plain, variable: str, findings: Findings, where: str | None = None) -> None:
    """Find names of mappings that YAML takes for something else than a text.

    Args:
        value: The value of a variable, as ``plain`` returns it.
        variable: The variable.
        findings: Receives what is found.
        where: The host whose variable it is; none if it is the fleet's.
    """
    pending, seen = [(value, variable)], set()
    while pending:
        item, path = pending.pop()
        if not isinstance(item, dict | list) or id(item) in seen:
            continue
        seen.add(id(item))
        children = item.items() if isinstance(item, dict) else enumerate(item)
        for name, child in children:
            if type(name) is NotText:
                findings.add("model/name-not-text", f"{path}.{name}", str(name), where=where)
            pending.append((child, f"{path}.{name}"))


def guarded(value: object, *, text: bool = True) -> object:
    """Return what a finding may show of a value of which nothing is known: what is in it may be a secret.

    Args:
        value: The value.
        text: Whether a text is shown.
    """
    hidden = isinstance(value, dict | list) or (isinstance(value, str) and not text)
    return "(not shown)" if hidden else value


def _name(key: str, spec: Spec) -> str:
    """Return what a path shows of a name: of ``DB=hunter2`` only the first word, if it may hold a secret."""
    if not spec.hidden or spec.test(key):
        return key
    word = re.match(r"\w*", key)
    first = word[0] if word else ""
    return first if first == key else f"{first}..."


def _clean_variant(
    value: Plain, variants: Mapping[str, Mapping[str, Spec]], path: tuple[str, ...], report: Report
) -> Plain:
    kind = value.get("type")
    if isinstance(kind, str) and kind in variants:
        return clean_fields(value, {"type": one_of(kind), **variants[kind]}, path, report)
    choices = ", ".join(variants)
    report(
        "model/bad-value", (*path, "type"), guarded(kind), f"is not one of {choices}", f"use one of {choices}"
    )
    return value


def clean_fields(
    value: Plain, fields: Mapping[str, Spec], path: tuple[str, ...], report: Report
) -> dict[str, Any]:
    """Return the legal fields of a mapping, and report what is wrong with the rest."""
    for key in value:
        if key in RENAMED:
            new = RENAMED[key]
            shown = guarded(value[key], text=False)
            report("model/renamed-key", (*path, key), shown, f"it is now called {new}", f"write {new}")
        elif key not in fields:
            hint = nearest(key, fields)
            remedy = "remove it, or use one of: " + ", ".join(fields)
            shown = guarded(value[key], text=False)
            report("model/unknown-key", (*path, key), shown, f"is no known field{hint}", remedy)
    cleaned = {}
    for key, spec in fields.items():
        if key not in value and not spec.required:
            continue
        item = clean(value.get(key), spec, (*path, key), report)
        if item is not _INVALID:
            cleaned[key] = item
    return cleaned


def reporter(findings: Findings, root: str, origins: Origins | None = None) -> Report:
    """Return a reporter that adds to the findings, with paths below a variable.

    Args:
        findings: Receives the findings.
        root: The variable.
        origins: Which variable set each path, where several are merged.
    """

    def report(
        id: str,
        path: tuple[str, ...],
        value: object,
        reason: str | None = None,
        remedy: str | None = None,
    ) -> None:
        findings.add(id, variable_of(origins or {}, root, path), value, reason, remedy)

    return report
