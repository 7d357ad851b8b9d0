"""The five fields of a crontab entry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRONTAB: Final = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def _times(field: str, least: int, most: int, names: Sequence[str]) -> set[int]:
    """Return the numbers that a field of a crontab stands for; none if it is not legal."""
    number = rf"\d{{1,2}}|{'|'.join(names)}" if names else r"\d{1,2}"
    numbers: set[int] = set()
    for part in field.lower().split(","):
        match = re.fullmatch(rf"(?:(\*)|({number})(?:-({number}))?)(?:/(\d{{1,2}}))?", part)
        if match is None:
            return set()
        first, last = (
            names.index(end) + least if end in names else int(end) if end else None
            for end in match.group(2, 3)
        )
        step = int(match[4] or 1)
        if step < 1 or (match[4] and last is None and not match[1]):
            return set()
        start, end = (least, most) if first is None else (first, first if last is None else last)
        if not least <= start <= end <= most:
            return set()
        numbers.update(range(start, end + 1, step))
    return numbers


def is_crontab(value: object) -> bool:
    """Return whether a value is a crontab of five fields whose time ever comes."""
    fields = value.split() if isinstance(value, str) else []
    if len(fields) != len(_CRONTAB):
        return False
    times = [_times(field, *bounds) for field, bounds in zip(fields, _CRONTAB, strict=True)]
    # A day that no month has would never come, and Celery would look for it for ever.
    longest = max(
        (29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in times[3]), default=0
    )
    return all(times) and min(times[2]) <= longest
