"""Publishes messages that no worker can run, one after the other, and writes down how many the broker has.

`python -m load.poison RUN --rate 1` goes on until it is told to stop (SIGTERM).
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from itertools import cycle

from amqp import Message
from amqp.exceptions import AMQPError, MessageNacked
from kombu.exceptions import KombuError

from load.app import app
from load.publish import PAUSE
from load.tasks import KINDS, record

_HEADERS = {"lang": "py", "task": "load.tidy", "id": "poison", "retries": 0, "timelimit": [None, None]}
_JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
_BODY = '[["poison", 0], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def poison() -> Iterator[Message]:
    """Yield messages that break a worker which takes them at their word, each kind in turn."""
    yield Message("not json {", application_headers=_HEADERS, **_JSON)
    yield Message(_BODY, application_headers={**_HEADERS, "task": "nobody.has.it"}, **_JSON)
    yield Message(_BODY, application_headers={**_HEADERS, "task": 5}, **_JSON)
    yield Message(_BODY, application_headers={**_HEADERS, "timelimit": "xy"}, **_JSON)
    yield Message(_BODY, application_headers={**_HEADERS, "eta": "2026-13-45"}, **_JSON)
    yield Message(_BODY, application_headers={**_HEADERS, "compression": "bogus"}, **_JSON)
    yield Message("[5, {}, {}]", application_headers=_HEADERS, **_JSON)
    yield Message(_BODY, application_headers=_HEADERS, content_type="application/x-python-serialize")
    yield Message(_BODY, **_JSON)
    yield Message(
        "\xff" * 9, application_headers=_HEADERS, content_type="text/plain", content_encoding="utf-16"
    )


def publish(message: Message, kind: str) -> None:
    """Publish a message where a task of a kind would go, until the broker has confirmed it.

    Args:
        message: The message.
        kind: The kind of task.
    """
    route = app.amqp.router.route({}, f"load.{kind}")
    exchange, key = route["queue"].exchange.name, route["queue"].routing_key
    while True:
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1)
                connection.default_channel.basic_publish_confirm(
                    message, exchange, key, mandatory=True, timeout=10
                )
            return
        except (KombuError, AMQPError, MessageNacked, OSError):
            time.sleep(PAUSE)


def main() -> int:
    """Publish as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m load.poison", description="Publish what breaks workers.")
    parser.add_argument("run", help="id of the run")
    parser.add_argument("--rate", type=float, default=1, metavar="N", help="messages a second")
    options = parser.parse_args()

    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    start = time.monotonic()
    messages = ((kind, message) for kind in cycle(KINDS) for message in poison())
    for number, (kind, message) in enumerate(messages):
        if stopping:
            break
        publish(message, kind)
        record(options.run, "poison.jsonl", {"number": number, "at": time.time()})
        time.sleep(max(0, start + (number + 1) / options.rate - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
