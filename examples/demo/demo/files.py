"""Where the tasks keep their files, and how they write them so that a second delivery does no harm."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """Return the demo's directory within the worker's state directory (`STATE_DIRECTORY`, set by systemd)."""
    state = os.environ.get("STATE_DIRECTORY", "/var/lib/celery-fleet").partition(":")[0]
    # Not the name of a package: what publishers upload must not become one.
    return Path(state) / "demo-files"


def inside(*parts: str) -> Path:
    """Return the path of these parts below the demo's directory.

    Args:
        parts: Path components; the first ones name the folder, a later one may come from a publisher.

    Raises:
        ValueError: The path leads out of the demo's directory.
    """
    path = root().joinpath(*parts).resolve()
    if not path.is_relative_to(root().resolve()):
        raise ValueError(f"{'/'.join(parts)} is outside the demo's directory {root()}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` at the end, whole or not at all.

    Two deliveries of one task may write at the same moment; each has its own temporary file,
    and a reader sees one complete result or the other.

    Args:
        path: The file to write or replace; its folder is made if absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    # Tasks of other pools, which are other users of one group, read and replace it, too.
    os.fchmod(handle, 0o660)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
