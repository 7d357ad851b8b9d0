"""Names of hosts, shortened to ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def host_ranges(hosts: Iterable[str]) -> list[str]:
    """Write names of hosts as an inventory does, such as ``cpu-[1:6].example.com``.

    Args:
        hosts: Names.

    Returns:
        Names and ranges, in the order of the first of each.
    """
    names = list(dict.fromkeys(hosts))
    most = max((len(re.findall(r"\d+", name)) for name in names), default=0)
    return min(
        (_ranges(names, at) for at in range(max(most, 1))),
        key=len,
    )


def _ranges(names: Sequence[str], at: int) -> list[str]:
    """Write names as ranges of the number at a position."""
    numbered: dict[tuple[str, str, int], list[int]] = {}
    parts = {name: list(re.finditer(r"\d+", name))[at : at + 1] for name in names}
    padded = any(
        len(number[0]) > 1 and number[0][0] == "0" for numbers in parts.values() for number in numbers
    )
    for name, numbers in parts.items():
        if not numbers:
            numbered[name, "", 0] = []
            continue
        number = numbers[0]
        width = len(number[0]) if padded else 0
        numbered.setdefault((name[: number.start()], name[number.end() :], width), []).append(int(number[0]))
    ranges = []
    for (before, after, width), values in numbered.items():
        for first, last in _runs(sorted(values)):
            inside = f"{first:0{width}}" if first == last else f"[{first:0{width}}:{last:0{width}}]"
            ranges.append(f"{before}{inside}{after}")
        if not values:
            ranges.append(before)
    return ranges


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
