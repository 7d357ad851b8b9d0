"""Whether a message is one that Celery can run: everything that is in it, before any of it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from celery.app.task import Context
from celery.utils.time import maybe_iso8601
from kombu import Message

from celery_fleet.frames import UNREADABLE

# What a header may hold, so that it can be passed on to another process.
_PLAIN = (str, bytes, int, float, Decimal, datetime, type(None))

# Headers become attributes of the task's request; these would replace its methods and what it keeps there.
_TAKEN = frozenset(name for name in dir(Context) if callable(getattr(Context, name))) | {
    "_children",
    "_protected",
}

# What the body says beside the arguments. Other names must not be those of the request's own fields.
_OPTIONS = ("callbacks", "errbacks", "chain", "chord")

# Seconds, 68 years. Timers and system calls stand no number that is much larger.
_LONGEST = 2**31

# How deep headers and options may be nested; Python's own limit would come in the middle of the work.
_DEEPEST = 50


class BrokenMessageError(Exception):
    """A message is not one of Celery's protocol."""


def check(message: Message) -> None:
    """Check everything that Celery's worker reads of a message, of protocol 1 or 2.

    Args:
        message: The message as it was received.

    Raises:
        BrokenMessageError: Something in it would fail in the worker, with the field and what it should be.
        Exception: Its body cannot be decoded.
    """
    headers = message.headers
    _require(isinstance(headers, Mapping), "headers", "a table", headers)
    if UNREADABLE in headers:
        raise BrokenMessageError(f"its properties cannot be read: {headers[UNREADABLE]}")
    _check_plain("headers", headers)
    body = message.payload
    if "task" not in headers:
        # Protocol 1: everything is in the body.
        _require(isinstance(body, Mapping) and "task" in body, "body", "a task, as no header names one", body)
    fields, args, kwargs, embed = _parts(headers, body)
    _check_fields(fields)
    _require(isinstance(args, list | tuple), "args", "a list", args)
    _require(_has_names(kwargs), "kwargs", "an object", kwargs)
    _require(embed is None or _has_names(embed), "options", "an object", embed)
    _check_options({**{name: fields.get(name) for name in _OPTIONS}, **(embed or {})})


def _parts(headers: Mapping[str, Any], body: Any) -> tuple[Mapping[str, Any], Any, Any, Any]:  # noqa: ANN401
    """Parse a message: its fields, arguments, keyword arguments and options."""
    if isinstance(body, Mapping):
        _require("task" not in headers or "args" in body, "body", "arguments and options", body)
        options = {name: body.get(name) for name in ("callbacks", "errbacks", "chord")}
        return {**body, **headers}, body.get("args", []), body.get("kwargs", {}), options
    _require(isinstance(body, list | tuple) and len(body) == 3, "body", "arguments and options", body)
    args, kwargs, embed = body
    return headers, args, kwargs, embed


def _check_fields(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        _require(isinstance(name, str), "headers", "named by strings", name)
        _require(name not in _TAKEN, name, "no header", value)
    for name in ("id", "task"):
        _require(_is_text(fields.get(name)) and fields[name] != "", name, "a string", fields.get(name))
    for name, (right, meaning) in _FIELDS.items():
        value = fields.get(name)
        _require(value is None or right(value), name, meaning, value)


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        _require(name in _OPTIONS or not hasattr(Context, name), "options", "no fields of the task", name)
    for name in ("callbacks", "errbacks", "chain"):
        value = options.get(name)
        right = isinstance(value, list | tuple) and all(map(_is_signature, value))
        _require(value is None or right, f"options.{name}", "a list of signatures", value)
    chord = options.get("chord")
    _require(chord is None or _is_signature(chord), "options.chord", "a signature", chord)


def _check_plain(where: str, value: object, depth: int = 0) -> None:
    _require(depth < _DEEPEST, where, f"nested less than {_DEEPEST} deep", "more")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _require(_is_text(name), where, "named by strings", name)
            _check_plain(where, item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(where, item, depth + 1)
    else:
        _require(isinstance(value, _PLAIN), where, "plain data", value)


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # half of a character
        return False


def _is_number(value: object) -> bool:
    # What is not a number, or endless, is in no range either.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LONGEST


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LONGEST


def _is_limit(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(each is None or _is_number(each) for each in value)
    )


def _is_time(value: object) -> bool:
    if not isinstance(value, str | datetime):
        return False
    try:
        return isinstance(maybe_iso8601(value), datetime)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return False


def _is_signature(value: Any) -> bool:  # noqa: ANN401 - whatever a message holds
    return (
        _has_names(value)
        and _is_text(value.get("task"))
        and isinstance(value.get("args", []), list | tuple)
        and _has_names(value.get("kwargs") or {})
        and _has_names(value.get("options") or {})
    )


def _has_names(value: Any) -> bool:  # noqa: ANN401 - whatever a message holds
    return isinstance(value, Mapping) and all(map(_is_text, value))


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


_TEXT = (_is_text, "a string")
_COUNT = (_is_count, "a whole number")
_TIME = (_is_time, "a time in ISO 8601")

# What may be None, too.
_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "argsrepr": _TEXT,
    "group": _TEXT,
    "group_index": _COUNT,
    "kwargsrepr": _TEXT,
    "lang": _TEXT,
    "meth": _TEXT,
    "origin": _TEXT,
    "parent_id": _TEXT,
    "root_id": _TEXT,
    "shadow": _TEXT,
    "eta": _TIME,
    "expires": _TIME,
    "replaced_task_nesting": _COUNT,
    "retries": _COUNT,
    "stamped_headers": (_is_list_of_text, "a list of strings"),
    "headers": (_has_names, "a table"),
    "stamps": (_has_names, "a table"),
    "timelimit": (_is_limit, "two numbers of seconds"),
}


def _require(right: bool, where: str, expected: str, value: object) -> None:
    if not right:
        raise BrokenMessageError(f"{where} must be {expected}, not {value!r:.200}")
