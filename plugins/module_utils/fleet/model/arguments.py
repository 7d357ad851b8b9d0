"""What a site may add to a worker's command line, and which options of `celery worker` are the kit's."""

from __future__ import annotations

import re
from typing import Final

from .spec import Spec, field, list_of, text_of

# Options of `celery` and its worker that follow from the model, or that a unit of systemd cannot have.
OWNED: Final = (
    "app|autoscale|beat|broker|concurrency|config|detach|discard|exclude-queues|executable|gid|help|hostname|"
    "loader|logfile|loglevel|max-memory-per-child|max-tasks-per-child|pidfile|pool|pool-start-method|"
    "prefetch-multiplier|purge|queues|result-backend|schedule|schedule-filename|scheduler|soft-time-limit|"
    "statedb|time-limit|uid|umask|version|workdir"
)
# Other short options are short for one of them.
SHORT: Final = "-E|-O(?:fair|default)?"

_TEXT: Final = r"[A-Za-z0-9_./:=,@+-]"
_LONG: Final = rf"--(?!(?:{OWNED})(?:=|$))[a-z][a-z0-9-]*(?:={_TEXT}*)?"

WORKER_ARGUMENTS: Final = field(
    "Further arguments of `celery worker`; none of those that the kit sets.",
    list_of(
        field(
            "An option, or the value of the one before it.",
            text_of(
                rf"{SHORT}|{_LONG}|(?!-){_TEXT}+",
                f"an option that the kit does not set (-E, -O, --without-gossip), or its value, of {_TEXT}",
                bad="worker/bad-argument",
            ),
        ),
        "a list of arguments",
        required=False,
    ),
)


_PROGRAM: Final = rf"/{_TEXT}+|[A-Za-z0-9_][A-Za-z0-9_.+-]*"


def _is_prefix(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return False
    program, *arguments = value or ["celery"]
    return bool(
        re.fullmatch(_PROGRAM, program) and all(re.fullmatch(f"{_TEXT}+", each) for each in arguments)
    )


COMMAND_PREFIX: Final = field(
    "A program that starts the worker, and its arguments, such as `[opentelemetry-instrument]`.",
    Spec(
        f"a list: the name of a program of the release or an absolute path, then its arguments, of {_TEXT}",
        _is_prefix,
        {
            "type": "array",
            "items": [{"type": "string", "pattern": rf"^(?:{_PROGRAM})$"}],
            "additionalItems": {"type": "string", "pattern": rf"^{_TEXT}+$"},
        },
        required=False,
        bad="worker/bad-prefix",
    ),
)
