"""Exact figures and fields of the model in plain types and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Final

from ..model.plain import Plain

MIB_PER_GIB: Final = 1024


def plain_number(value: Fraction) -> int | float:
    """Return a fraction as an int where it is one, else as a float."""
    return value.numerator if value.denominator == 1 else float(value)


def figure_text(value: Fraction) -> str:
    """Return a fraction as text."""
    return f"{plain_number(value):.10g}"


def plain_value(value: object) -> Plain:
    """Return a field of the model as a site writes it: a queue's name is its key, and not in it."""
    if isinstance(value, Fraction):
        return plain_number(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain_value(getattr(value, field.name))
            for field in fields(value)
            if field.name != "name"
        }
    return {key: plain_value(item) for key, item in value.items()} if isinstance(value, Mapping) else value
