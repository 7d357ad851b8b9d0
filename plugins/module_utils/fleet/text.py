"""Words and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# How many of a list of names a sentence holds.
NAMED: Final = 5


def span(seconds: float | None) -> str:
    """Write a span of time in its largest unit.

    Args:
        seconds: Its length; none if it is not known.

    Returns:
        For example ``7 s`` or ``3 h``.
    """
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, noun: str) -> str:
    """Write a number of things.

    Args:
        number: How many.
        noun: The thing, in the singular of a regular noun.

    Returns:
        For example ``1 task`` or ``3 tasks``.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[str]) -> str:
    """Write names, the first few of many.

    Args:
        names: Any names.

    Returns:
        For example ``a, b`` or ``a, b, c, d, e and 3 more``.
    """
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells in columns.

    Args:
        rows: The cells of each row, the head first; all rows have as many. Any of them may be a stranger's.

    Returns:
        A line for each row, without control characters.
    """
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _printable(cell: str) -> str:
    return cell if cell.isprintable() else "".join(each if each.isprintable() else "?" for each in cell)
