"""Each option of Celery's worker is the kit's, or a site may add it."""

from __future__ import annotations

import pytest
from celery.bin.worker import worker
from fleet.model.arguments import OWNED, WORKER_ARGUMENTS

FREE = {"disable-prefetch", "events", "heartbeat-interval", "include", "optimization", "task-events"}
FREE |= {"without-gossip", "without-heartbeat", "without-mingle"}


def accepts(argument: str) -> bool:
    each = WORKER_ARGUMENTS.each
    assert each is not None
    return bool(each.test(argument))


@pytest.mark.parametrize("option", [name for each in worker.params for name in each.opts])
def test_an_option_is_the_kits_or_free(option: str) -> None:
    names = next(each.opts for each in worker.params if option in each.opts)
    long = {name.lstrip("-") for name in names if name.startswith("--")}
    assert bool(long & FREE) is not bool(long & set(OWNED.split("|"))), option
    assert accepts(option) is (bool(long & FREE) and option != "-I")
    assert accepts(f"{option}=x") is (bool(long & FREE) and option.startswith("--"))
