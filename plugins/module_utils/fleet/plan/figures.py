"""Exact figures as numbers and text."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

MIB_PER_GIB: Final = 1024


def plain_number(value: Fraction) -> int | float:
    """Return a fraction as an int where it is one, else as a float."""
    return value.numerator if value.denominator == 1 else float(value)


def figure_text(value: Fraction) -> str:
    """Return a fraction as text."""
    return f"{plain_number(value):.10g}"
