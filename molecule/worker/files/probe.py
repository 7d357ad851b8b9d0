"""An application whose tasks leave a trace of when they ran, and of what they were given."""

import errno
import hashlib
import json
import os
import time
from pathlib import Path

from celery import Celery

import celery_fleet

app = Celery("probe")
celery_fleet.configure(app)


def trace(path: str, held: bool) -> None:
    """Write a line to a file, and another one at the end.

    Args:
        path: The file; its directory must be there.
        held: Whether to go on until there is a file of this name with `.end`.
    """
    file, end = Path(path), Path(f"{path}.end")
    with file.open("a") as lines:
        lines.write("begin\n")
    while held and not end.exists():
        time.sleep(0.1)
    with file.open("a") as lines:
        lines.write("end\n")


def environment(path: str) -> None:
    """Write what the task finds in its environment.

    Args:
        path: The file. It gets a hash of each variable, or of the file whose path that holds.
    """
    found = {}
    for name, value in os.environb.items():
        is_path = value.startswith(b"/run/credentials/") and name != b"CREDENTIALS_DIRECTORY"
        content = Path(os.fsdecode(value)).read_bytes() if is_path else value
        found[os.fsdecode(name)] = hashlib.sha256(content).hexdigest()
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps(found))
    draft.rename(path)


TRIES = {
    "read": lambda path: Path(path).read_bytes(),
    "write": lambda path: Path(path).open("ab").close(),
    "make": lambda path: Path(path).mkdir(),
    "link": lambda path, target: Path(path).symlink_to(target),
    "pipe": os.mkfifo,
    "remove": os.unlink,
    "signal": lambda pid: os.kill(pid, 0),
}


def attempt(path: str, tries: dict[str, list[object]]) -> None:
    """Write what became of each attempt: `done`, or the name of the error.

    Args:
        path: The file.
        tries: The attempts by their names, each with a key of `TRIES` and its arguments.
    """
    verdicts = {}
    for name, (how, *arguments) in tries.items():
        try:
            TRIES[how](*arguments)
            verdicts[name] = "done"
        except OSError as error:
            verdicts[name] = errno.errorcode[error.errno]
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps(verdicts))
    draft.rename(path)


app.task(attempt, name="probe.attempt")
app.task(trace, name="probe.trace")
app.task(environment, name="probe.environment")
