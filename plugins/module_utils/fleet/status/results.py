"""How the server of results is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..host.names import RESULTS
from ..text import count

MIB: Final = 2**20
# Share of its limit from which somebody should look.
FULL: Final = 0.8


def row(reported: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a server.

    Args:
        reported: What the module ``results_server`` returned, or ``unreachable`` and why.
    """
    figures = reported.get("figures") or {}
    return {
        "answers": bool(reported.get("answers")),
        "error": " ".join(str(reported.get("error") or reported.get("msg") or "").split()),
        "version": figures.get("version"),
        "memory_mib": _mib(figures.get("used_memory")),
        "limit_mib": _mib(figures.get("maxmemory")),
        "up_s": figures.get("uptime_in_seconds"),
        "file": ("fine" if figures["aof_fine"] else "FAILING") if figures else None,
        "refused": figures.get("refused"),
    }


def warnings(host: str, reported: Mapping[str, Any]) -> Iterator[str]:
    """Find what is wrong with a server.

    Args:
        host: Its host.
        reported: As ``row`` takes it.
    """
    shown = row(reported)
    if not reported.get("figures"):
        yield f"{host}: the server of results does not answer: {shown['error']}; see journalctl -u {RESULTS}"
        return
    if not shown["answers"]:
        yield f"{host}: the server of results still reads its file"
    if shown["file"] != "fine":
        yield f"{host}: results do not reach the disk; see df and journalctl -u {RESULTS}"
    used, limit = shown["memory_mib"], shown["limit_mib"]
    if limit and used >= limit * FULL:
        yield (
            f"{host}: results fill {used} of {limit} MiB, and beyond that tasks wait; lower result_expires "
            "of the application, or raise fleet_results_memory"
        )


def notes(host: str, reported: Mapping[str, Any]) -> Iterator[str]:
    """Say what need not be wrong any more.

    Args:
        host: The server's host.
        reported: As ``row`` takes it.
    """
    if refused := row(reported)["refused"]:
        yield f"{host}: for want of memory {count(refused, 'result')} had to wait since the server's start"


def _mib(size: int | None) -> int | None:
    return None if size is None else round(size / MIB)
